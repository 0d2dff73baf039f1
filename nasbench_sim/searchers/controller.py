"""The controller of ENAS: an LSTM that writes a cell decision by decision, with its gradient by hand.

    (h, c)_l = LSTM_l(x, (h, c)_l);  logits = tanh_constant tanh((W h_L + b) / temperature);  op ~ Cat(softmax(logits))
    x of the first decision is a learned vector, of every other the embedding of the option just chosen

One controller a seed, all in one flat array `[S, P]`. Its layers are NumPy matmuls over the seed axis, which are one
BLAS call a seed, of shapes and strides that do not depend on the batch, by which kernels round: a seed alone equals its
row bit for bit. At the published size (32 units, 2 layers, 17,253 weights) 20 cells take 6.9 million flop to write and
learn from, and 8 more that are only written 0.9.

A layer's input is one row: states, two ones for PyTorch's two biases and, in layer 0, the one-hot of the option before,
whose weights are embed @ input. So one product makes z, and one over the rows of all decisions a layer's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.lstm import SLOPES, UNITS, Tape, added, backward, children, forward, leave_slopes, prefixes
from nasbench_sim.searchers.one_shot import at_least_one
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]

INIT_RANGE = 0.1  # of the weights that the published code sets; the others keep PyTorch's 1 / sqrt(hidden)
NEVER = -1e9  # logit of an option that is not there: its probability is 0, and 0 times it is 0


class Heads(NamedTuple):
    """The distributions that cells met: `bent` (tanh of the scaled logits), `p`, `log_p` (nats), `hit` (one-hot of the
    option drawn), all `[D, K, S, M]`, and `entropy` `[D, S, M]` in nats."""

    bent: Array
    p: Array
    log_p: Array
    hit: Array
    entropy: Array


class Trace(NamedTuple):
    """Cells `[S, M, D]`, and what one wants to know of those to learn from, the first M' of them.

    `log_prob` `[S, M']` of the whole cell; `entropy` `[S, M']`: sum over decisions of the entropy met on the way
    (nats); `marginal` `[S, D, K]`: mean over the cells of the distribution met at each decision; `places` `[S or 1, M',
    n_t]`: one-hot of each cell's row, for each decision whose rows are prefixes; `tape`: for `gradient`, until the same
    memory is written again.
    """

    cells: Array
    log_prob: Array
    entropy: Array
    marginal: Array
    heads: Heads
    places: list[Array]
    tape: Tape


@dataclass(frozen=True)
class Controller:
    """An LSTM controller's shape; weights are an argument `w[S, P]` everywhere.

    `temperature` and `tanh_constant` bound the logits to (-2.5, 2.5): on 5 options no probability passes 0.975.
    Sizes are those of AutoDL-Projects (lstm_size 32, 2 layers, temperature 5, tanh_constant 2.5), taken there from
    TDeVries/enas_pytorch; so is the initialisation.
    """

    hidden: int = 32
    layers: int = 2
    temperature: float = 5.0
    tanh_constant: float = 2.5

    def __post_init__(self) -> None:
        at_least_one(hidden=self.hidden, layers=self.layers)
        for name, value in (("temperature", self.temperature), ("tanh_constant", self.tanh_constant)):
            if not value > 0:
                raise SpecError(f"{name} is positive, got {value}")

    def shapes(self, options: int) -> dict[str, tuple[int, int]]:
        """Name -> shape of each block of weights; a layer's columns are its gates o, i, f, g.

        `vectors`: start, then the options' embeddings; `layer n`: rows for [the state below,] the own state and two
        biases, of which PyTorch learns both, so that their sum moves twice as fast as one; `head`: rows for the last
        state and the bias.
        """
        h, k = self.hidden, options
        layers = {f"layer {n}": ((2 * h if n else h) + 2, 4 * h) for n in range(self.layers)}
        return {"vectors": (1 + k, h), "input": (h, 4 * h), **layers, "head": (h + 1, k)}

    def size(self, options: int) -> int:
        """Number of weights P.

        >>> Controller().size(5)
        17253
        """
        return sum(rows * columns for rows, columns in self.shapes(options).values())

    def views(self, w: Array, options: int) -> dict[str, Array]:
        """Views `[S, *shape]` of the flat weights `w[S, P]`."""
        out, at = {}, 0
        for name, (rows, columns) in self.shapes(options).items():
            out[name] = w[:, at : at + rows * columns].reshape(len(w), rows, columns)
            at += rows * columns
        return out

    def init(self, streams: Streams, options: int, dtype: npt.DTypeLike) -> Array:
        """Fresh weights `[S, P]`, uniform and symmetric: drawn for matrices first, then biases, the head last."""
        draws = 2 * streams.uniform("controller", 0, (self.size(options),)).astype(dtype) - 1
        w = np.empty_like(draws)
        v, h, wide = self.views(w, options), self.hidden, self.hidden**-0.5
        layers = [v[f"layer {n}"] for n in range(self.layers)]
        parts = [(v["vectors"], INIT_RANGE), (v["input"], INIT_RANGE), (layers[0][:, :-2], INIT_RANGE)]
        parts += [(x[:, :-2], wide) for x in layers[1:]] + [(x[:, -2:], wide) for x in layers]
        at = 0
        for view, reach in (*parts, (v["head"][:, :h], INIT_RANGE), (v["head"][:, h:], wide)):
            n = view[0].size
            values = (w.dtype.type(reach) * draws[:, at : at + n]).reshape(view.shape)
            # gates are drawn in PyTorch's order, i, f, g, o
            view[...] = np.roll(values, h, axis=2) if view.shape[2] == 4 * h else values
            at += n
        return w

    def tape(self, shape: tuple[int, int, int], options: int, dtype: npt.DTypeLike, learn: int | None = None) -> Tape:
        """Memory to learn from the first `learn` (default: all) of the cells `[S, M, D]` = `shape`.

        At the published size 180 KB a seed; written again and again, since fresh memory costs as much as its use.
        """
        s, m, d = shape
        few, learn = prefixes(m, d, options), m if learn is None else learn
        sizes = few + [learn] * (d - len(few))
        ends = np.cumsum([0, *sizes]).tolist()
        inputs = [np.empty((s, ends[-1], width), dtype) for width in self._widths(options)]
        slopes = [[np.empty((SLOPES, s, n, self.hidden), dtype) for n in sizes] for _ in range(self.layers)]
        rows = [slice(a, b) for a, b in pairwise(ends)]
        return Tape(learn, rows, inputs, slopes, np.ones((s, ends[-1], self.hidden + 1), dtype))

    def cells(self, w: Array, uniform: Array, mask: Array) -> Array:
        """Cells `[S, M, D]` drawn at `uniform[S, M, D]`; `mask[D, K]`: which options there are."""
        return self._walk(w, uniform, mask, None)[0]

    def write(self, w: Array, uniform: Array, mask: Array, tape: Tape | None = None) -> Trace:
        """The same cells, and what is needed to learn from as many of them as `tape` was made for (default: all)."""
        tape = tape or self.tape(uniform.shape, mask.shape[1], w.dtype)
        cells, bent, places = self._walk(w, uniform, mask, tape)
        m = tape.learn
        bent = np.ascontiguousarray(bent[..., :m])
        log_p = self._logits(bent, _far(mask, bent.dtype))
        p = np.exp(log_p)
        total = added(p.swapaxes(0, 1))[:, None]
        p /= total
        log_p -= np.log(total)
        entropy = -added((p * log_p).swapaxes(0, 1))
        hit = cells[:, :m].transpose(2, 0, 1)[:, None] == np.arange(mask.shape[1])[:, None, None]
        log_prob = added(added((hit * log_p).swapaxes(0, 1)))
        marginal = p.sum(axis=3).transpose(2, 0, 1) / p.dtype.type(m)
        heads = Heads(bent, p, log_p, hit, entropy)
        return Trace(cells, log_prob, added(entropy), marginal, heads, [x[:, :m] for x in places], tape)

    def _widths(self, options: int) -> list[int]:
        return [self.hidden + 3 + options] + [2 * self.hidden + 2] * (self.layers - 1)

    def _logits(self, bent: Array, far: Array) -> Array:
        """Logits `[..., K, S, M]`, the largest 0."""
        logits = bent * bent.dtype.type(self.tanh_constant)
        logits += far
        logits -= logits.max(axis=-3, keepdims=True)
        return np.asarray(logits)

    def _walk(self, w: Array, uniform: Array, mask: Array, tape: Tape | None) -> tuple[Array, Array, list[Array]]:
        """Cells, `bent` `[D, K, S, M]` of `Heads` and `places` of `Trace`, of all M cells."""
        s, m, d = uniform.shape
        h, k, dtype = self.hidden, mask.shape[1], w.dtype
        v, few = self.views(w, k), prefixes(m, d, k)
        sizes = few + [m] * (d - len(few))
        matrices = [self._by_gate(v, n) for n in range(self.layers)]
        head = v["head"].swapaxes(1, 2) / dtype.type(self.temperature)
        head, offset = head[:, :, :h], head[:, :, h].T[..., None]
        inputs = [np.zeros((s, m, width), dtype) for width in self._widths(k)]
        own = [slice(h, 2 * h) if n else slice(0, h) for n in range(self.layers)]
        for x, at in zip(inputs, own, strict=True):
            x[:, :, at.stop : at.stop + 2] = 1
        memory = [np.zeros((s, 1, h), dtype)] * self.layers
        cells, bent, places = np.empty((s, m, d), dtype=np.int64), np.empty((d, k, s, m), dtype), []
        far, one_hot = _far(mask, dtype), np.eye(1 + k, dtype=dtype)
        row, before = np.zeros((1, m), dtype=np.int64), np.zeros(1, dtype=np.int64)
        for t, n_t in enumerate(sizes):
            if t < len(few):
                places.append(np.eye(n_t, dtype=dtype)[row])
                before = 1 + np.arange(n_t) % k if t else before
            inputs[0][:, :n_t, h + 2 :] = one_hot[before]
            if t <= len(few):
                z = np.empty((UNITS, s, n_t, h), dtype)
            for n, x in enumerate(inputs):
                np.matmul(x[:, None, :n_t], matrices[n], out=z[:4].transpose(1, 0, 2, 3))
                memory[n] = forward(z, memory[n])
                state = z[6]
                if tape:
                    slopes = tape.slopes[n][t]
                    leave_slopes(z[:, :, : slopes.shape[2]], slopes)
                    tape.inputs[n][:, tape.rows[t]] = x[:, : slopes.shape[2]]
                if n + 1 < self.layers:
                    inputs[n + 1][:, :n_t, :h] = state
                if t + 1 == d:
                    continue
                if t < len(few):
                    down = children(places[t], k, last=t + 1 == len(few))
                    memory[n] = down @ memory[n]
                    x[:, : sizes[t + 1], own[n]] = down @ state
                else:
                    x[:, :, own[n]] = state
            if tape:
                tape.tops[:, tape.rows[t], :h] = state[:, : slopes.shape[2]]
            scaled = head @ state.swapaxes(1, 2)
            if t < len(few):
                scaled = scaled @ places[t].swapaxes(1, 2)
            np.add(scaled.transpose(1, 0, 2), offset, out=bent[t])
            np.tanh(bent[t], out=bent[t])
            running = np.exp(self._logits(bent[t], far[t]))
            for i in range(1, k):
                running[i] += running[i - 1]
            # uniforms of 24 bits stay below 1 by more than rounding: no point reaches the last sum
            cells[:, :, t] = chosen = (uniform[:, :, t] * running[-1] >= running[:-1]).sum(axis=0)
            row, before = row * k + chosen, 1 + chosen
        return cells, bent, places

    def _by_gate(self, v: dict[str, Array], n: int) -> Array:
        """What multiplies the inputs of layer n, `[S, 4, I, H]`; half of it for sigmoids, made by tanh(z / 2)."""
        blocks = [v[f"layer {n}"]] if n else [v["layer 0"], v["vectors"] @ v["input"]]
        s, h, dtype = len(blocks[0]), self.hidden, blocks[0].dtype
        out, at = np.empty((s, 4, sum(x.shape[1] for x in blocks), h), dtype), 0
        for x in blocks:
            out[:, :, at : at + x.shape[1]] = x.reshape(s, -1, 4, h).transpose(0, 2, 1, 3)
            at += x.shape[1]
        out[:, :3] *= dtype.type(0.5)
        return out

    def gradient(self, w: Array, trace: Trace, mask: Array, on_log_prob: Array, on_entropy: Array) -> Array:
        """Gradient `[S, P]` of sum_m (on_log_prob log p(cell_m) + on_entropy entropy_m), both weights `[S, M']`.

        Backpropagation layer by layer and, in each, through the decisions; what was drawn is held fixed.
        """
        h, k, dtype = self.hidden, mask.shape[1], w.dtype
        heads, places, tape = trace.heads, trace.places, trace.tape
        d, _, s, _ = heads.p.shape
        v, out = self.views(w, k), np.empty_like(w)
        g = self.views(out, k)
        slope = on_log_prob * (heads.hit - heads.p) - on_entropy * heads.p * (heads.log_p + heads.entropy[:, None])
        slope *= (1 - heads.bent * heads.bent) * dtype.type(self.tanh_constant / self.temperature)
        by_cell = np.ascontiguousarray(slope.transpose(2, 0, 3, 1))
        by_row = np.empty((s, tape.rows[-1].stop, k), dtype)
        for t, rows in enumerate(tape.rows):
            by_row[:, rows] = places[t].swapaxes(1, 2) @ by_cell[:, t] if t < len(places) else by_cell[:, t]
        np.matmul(tape.tops.swapaxes(1, 2), by_row, out=g["head"])
        above = by_row @ v["head"][:, :h].swapaxes(1, 2)  # gradient in a layer's states from above, by row
        dz = np.empty((s, tape.rows[-1].stop, 4 * h), dtype)
        for n in range(self.layers - 1, -1, -1):
            back = v[f"layer {n}"][:, -h - 2 : -2].swapaxes(1, 2)
            shape = tape.slopes[n][-1].shape[1:]
            dh, dc, scratch = np.zeros(shape, dtype), np.zeros(shape, dtype), np.empty((5, *shape), dtype)
            for t in range(d - 1, -1, -1):
                rows = tape.rows[t]
                if t < len(places) and t + 1 < d:  # gradients of a row's children add up
                    up = children(places[t], k, last=t + 1 == len(places)).swapaxes(1, 2)
                    dh, dc = up @ dh, up @ dc
                    scratch = np.empty((5, *dh.shape), dtype)
                dh += above[:, rows]
                backward(tape.slopes[n][t], dh, dc, scratch)
                dz[:, rows].reshape(s, -1, 4, h)[...] = scratch[:4].transpose(1, 2, 0, 3)
                if t:
                    np.matmul(dz[:, rows], back, out=dh)
            x = tape.inputs[n].swapaxes(1, 2)
            if n:
                above = dz @ v[f"layer {n}"][:, :h].swapaxes(1, 2)
                np.matmul(x, dz, out=g[f"layer {n}"])
        whole = x @ dz
        g["layer 0"][...] = whole[:, : h + 2]
        np.matmul(v["vectors"].swapaxes(1, 2), whole[:, h + 2 :], out=g["input"])
        np.matmul(whole[:, h + 2 :], v["input"].swapaxes(1, 2), out=g["vectors"])
        return out


def _far(mask: Array, dtype: npt.DTypeLike) -> Array:
    """0 for options that there are, else `NEVER`, `[D, K, 1, 1]`."""
    return np.where(mask, 0, NEVER).astype(dtype)[..., None, None]

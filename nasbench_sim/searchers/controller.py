"""The controller of ENAS: an LSTM that writes a cell decision by decision, with its gradient by hand.

One controller a seed, all in one flat array `[S, P]`. Its layers are NumPy matmuls over the seed axis, which are one
BLAS call a seed, of a shape that does not depend on the batch: a seed alone equals its row bit for bit. At the
published size (32 units, 2 layers, 17,253 weights) a batch of 20 cells takes 7.4 million flop to write and learn from.

    (h, c)_l = LSTM_l(x, (h, c)_l);  logits = tanh_constant tanh((W h_L + b) / temperature);  op ~ Cat(softmax(logits))
    x of the first decision is a learned vector, of every other the embedding of the option just chosen
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import over_options
from nasbench_sim.searchers.one_shot import at_least_one
from nasbench_sim.searchers.random_variables import pick
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]

INIT_RANGE = (
    0.1  # uniform range of the weights that the published code sets; the others keep PyTorch's 1 / sqrt(hidden)
)


class Step(NamedTuple):
    """What the backward pass needs of one decision; `M'` is 1 at the first decision, where all cells are alike.

    For each layer: `inputs` `[S, M', I]` (what its matrix multiplied), `gates` `[S, M', 4H]` (i, f, o in (0, 1), g in
    (-1, 1)), `cell` and `squashed` = tanh(cell) `[S, M', H]`. `top` `[S, M', H]`: h of the last layer; `bent`
    `[S, M', K]`: tanh of the scaled logits; `log_p` `[S, M', K]`.
    """

    inputs: list[Array]
    gates: list[Array]
    cell: list[Array]
    squashed: list[Array]
    top: Array
    bent: Array
    log_p: Array


class Trace(NamedTuple):
    """Cells `[S, M, D]`, what they came from, and what one wants to know of them.

    `log_prob` `[S, M]` of the whole cell; `entropy` `[S, M]`: sum over decisions of the entropy met on the way (nats);
    `marginal` `[S, D, K]`: mean over the M cells of the distribution met at each decision.
    """

    cells: Array
    steps: list[Step]
    log_prob: Array
    entropy: Array
    marginal: Array


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

    def shapes(self, options: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each weight. Layer 0: input matrix apart; others: input and recurrent matrix in one."""
        h, k = self.hidden, options
        out: dict[str, tuple[int, ...]] = {"start": (1, h), "embed": (k, h), "input": (h, 4 * h), "cell 0": (h, 4 * h)}
        out |= {f"cell {n}": (2 * h, 4 * h) for n in range(1, self.layers)}
        # PyTorch keeps two biases a gate that are added; both learn, so that their sum moves twice as fast as one
        out |= {f"bias {n}": (2, 4 * h) for n in range(self.layers)}
        return {**out, "predict": (h, k), "offset": (1, k)}

    def size(self, options: int) -> int:
        """Number of weights P.

        >>> Controller().size(5)
        17253
        """
        return sum(int(np.prod(shape)) for shape in self.shapes(options).values())

    def views(self, w: Array, options: int) -> dict[str, Array]:
        """Views `[S, *shape]` of the flat weights `w[S, P]`."""
        out, at = {}, 0
        for name, shape in self.shapes(options).items():
            n = int(np.prod(shape))
            out[name] = w[:, at : at + n].reshape(len(w), *shape)
            at += n
        return out

    def init(self, streams: Streams, options: int, dtype: npt.DTypeLike) -> Array:
        """Fresh weights `[S, P]`, uniform and symmetric."""
        w = 2 * streams.uniform("controller", 0, (self.size(options),)).astype(dtype) - 1
        for name, view in self.views(w, options).items():
            fine = name in ("start", "embed", "input", "cell 0", "predict")
            view *= view.dtype.type(INIT_RANGE if fine else self.hidden**-0.5)
        return w

    def write(self, w: Array, uniform: Array, mask: Array) -> Trace:
        """Cells drawn at `uniform[S, M, D]`; `mask[D, K]`: which options there are."""
        s, m, d = uniform.shape
        v, h = self.views(w, mask.shape[1]), self.hidden
        biases = [v[f"bias {n}"][:, :1] + v[f"bias {n}"][:, 1:] for n in range(self.layers)]
        # layer 0 sees one of 1 + K vectors: its input products are made once and looked up
        lookup = np.concatenate([v["start"], v["embed"]], axis=1) @ v["input"] + biases[0]
        nothing = np.zeros((s, 1, h), dtype=w.dtype)
        hs, cs = [nothing] * self.layers, [nothing] * self.layers
        chosen = np.zeros((s, 1), dtype=np.int64)
        seed = np.arange(s)[:, None]
        cells, steps = np.empty((s, m, d), dtype=np.int64), []
        log_prob, entropy = np.zeros((s, m), dtype=w.dtype), np.zeros((s, m), dtype=w.dtype)
        marginal = np.empty((s, d, mask.shape[1]), dtype=w.dtype)
        for t in range(d):
            step = Step([], [], [], [], nothing, nothing, nothing)
            for n in range(self.layers):
                if n == 0:
                    x, z = hs[0], lookup[seed, chosen]
                    if t:  # at the first decision h is 0
                        z += x @ v["cell 0"]
                else:
                    x = np.concatenate(np.broadcast_arrays(hs[n - 1], hs[n]), axis=2)
                    z = x @ v[f"cell {n}"] + biases[n]
                gates = _gates(z, h)
                cs[n] = gates[..., h : 2 * h] * cs[n] + gates[..., :h] * gates[..., 2 * h : 3 * h]
                squashed = np.tanh(cs[n])
                hs[n] = gates[..., 3 * h :] * squashed
                for kept, value in zip(step[:4], (x, gates, cs[n], squashed), strict=True):
                    kept.append(value)
            bent = np.tanh((hs[-1] @ v["predict"] + v["offset"]) / w.dtype.type(self.temperature))
            log_p = _log_softmax(np.where(mask[t], bent * w.dtype.type(self.tanh_constant), w.dtype.type(-np.inf)))
            p = np.exp(log_p)
            each = np.broadcast_to(log_p, (s, m, p.shape[2]))
            chosen = _pick_each(uniform[:, :, t], np.broadcast_to(p, each.shape))
            cells[:, :, t] = chosen
            log_prob = (
                log_prob + np.take_along_axis(np.broadcast_to(log_p, (s, m, p.shape[2])), chosen[..., None], 2)[..., 0]
            )
            entropy = entropy - over_options(p * np.where(mask[t], log_p, 0))[..., 0]
            marginal[:, t] = _over_cells(p) / w.dtype.type(p.shape[1])
            steps.append(step._replace(top=hs[-1], bent=bent, log_p=log_p))
            chosen = chosen + 1  # row 0 of the lookup is the start
        return Trace(cells, steps, log_prob, entropy, marginal)

    def gradient(self, w: Array, trace: Trace, mask: Array, on_log_prob: Array, on_entropy: Array) -> Array:
        """Gradient `[S, P]` of sum_m (on_log_prob log p(cell_m) + on_entropy entropy_m), both weights `[S, M]`.

        Backpropagation through the decisions; what was drawn is held fixed.
        """
        s, _, d = trace.cells.shape
        options, h, as_ = mask.shape[1], self.hidden, w.dtype.type
        v, out = self.views(w, options), np.zeros_like(w)
        g = self.views(out, options)
        looked_up = np.zeros((s, 1 + options, 4 * h), dtype=w.dtype)
        nothing = np.zeros((s, 1, h), dtype=w.dtype)
        dh, dc = [nothing] * self.layers, [nothing] * self.layers
        for t in range(d - 1, -1, -1):
            step = trace.steps[t]
            p, log_p = np.exp(step.log_p), np.where(mask[t], step.log_p, 0)
            hit = trace.cells[:, :, t, None] == np.arange(options)
            here = -over_options(p * log_p)  # entropy of this decision
            dz = on_log_prob[..., None] * (hit - p) - on_entropy[..., None] * p * (log_p + here)
            dz = dz * ((1 - step.bent * step.bent) * as_(self.tanh_constant / self.temperature))
            if t == 0:  # one row for all cells: their gradients add up
                dz, dh, dc = _over_cells(dz)[:, None], [_one_row(x) for x in dh], [_one_row(x) for x in dc]
            g["predict"] += step.top.swapaxes(1, 2) @ dz
            g["offset"] += _over_cells(dz)[:, None]
            dh[-1] = dh[-1] + dz @ v["predict"].swapaxes(1, 2)
            before = trace.steps[t - 1].cell if t else [nothing] * self.layers
            for n in range(self.layers - 1, -1, -1):
                dz, dc[n] = _cell_backward(step.gates[n], step.squashed[n], before[n], dh[n], dc[n], h)
                x, matrix = step.inputs[n], f"cell {n}"
                if t or n:
                    pulled = dz @ v[matrix].swapaxes(1, 2)
                    # at t = 1 layer 0 multiplied the one row of t = 0
                    g[matrix] += x.swapaxes(1, 2) @ (dz if x.shape[1] == dz.shape[1] else _one_row(dz))
                    dh[n] = pulled[..., -h:]
                if n:
                    dh[n - 1] = dh[n - 1] + pulled[..., :h]
                    g[f"bias {n}"] += _over_cells(dz)[:, None]
                else:
                    row = trace.cells[:, :, t - 1, None] + 1 if t else np.zeros((s, 1, 1), dtype=np.int64)
                    looked_up += (row == np.arange(1 + options)).astype(w.dtype).swapaxes(1, 2) @ dz
        g["bias 0"] += _over_cells(looked_up)[:, None]
        vectors = np.concatenate([v["start"], v["embed"]], axis=1)
        g["input"] += vectors.swapaxes(1, 2) @ looked_up
        pulled = looked_up @ v["input"].swapaxes(1, 2)
        g["start"] += pulled[:, :1]
        g["embed"] += pulled[:, 1:]
        return out


def _gates(z: Array, h: int) -> Array:
    """i, f, g, o from their pre-activations `z[..., 4H]`: sigmoid(x) = (1 + tanh(x / 2)) / 2 makes one call of all."""
    half = z.dtype.type(0.5)
    for part in (z[..., : 2 * h], z[..., 3 * h :]):
        part *= half
    np.tanh(z, out=z)
    for part in (z[..., : 2 * h], z[..., 3 * h :]):
        part *= half
        part += half
    return z


def _cell_backward(gates: Array, squashed: Array, before: Array, dh: Array, dc: Array, h: int) -> tuple[Array, Array]:
    """Gradient in the pre-activations `[S, M', 4H]` and in the cell before, of h = o tanh(c), c = f before + i g."""
    i, f, g, o = (gates[..., n * h : (n + 1) * h] for n in range(4))
    dc = dc + dh * o * (1 - squashed * squashed)
    dz = np.empty(gates.shape, dtype=gates.dtype)
    dz[..., :h] = dc * g * i * (1 - i)
    dz[..., h : 2 * h] = dc * before * f * (1 - f)
    dz[..., 2 * h : 3 * h] = dc * i * (1 - g * g)
    dz[..., 3 * h :] = dh * squashed * o * (1 - o)
    return dz, dc * f


def _log_softmax(x: Array) -> Array:
    top = x[..., 0]
    for k in range(1, x.shape[-1]):
        top = np.maximum(top, x[..., k])
    shifted = x - top[..., None]
    return np.asarray(shifted - np.log(over_options(np.exp(shifted))))


def _pick_each(uniform: Array, p: Array) -> npt.NDArray[np.int64]:
    """One option `[S, M]` at `uniform[S, M]` from each of `p[S, M, K]`."""
    s, m, k = p.shape
    return pick(uniform.reshape(s * m, 1, 1), p.reshape(s * m, 1, k)).reshape(s, m)


def _over_cells(x: Array) -> Array:
    """Sum over the cells, `[S, M, ...] -> [S, ...]`, in a fixed order."""
    out = x[:, 0]
    for m in range(1, x.shape[1]):
        out = out + x[:, m]
    return np.asarray(out)


def _one_row(x: Array) -> Array:
    """The same, keeping the axis."""
    return _over_cells(x)[:, None]

"""Trainable parameters of NAS-Bench-101 networks, exactly, from the module's graph.

The network is a 3x3 stem of 128 channels, three stacks of three modules with 128, 256 and 512 channels (halved in size
by max pooling between stacks), and a linear classifier of 10 classes (google-research/nasbench, model_builder.py). In a
module of C output channels the k inner vertices that feed the output share C: C // k channels each, the first C % k of
them one more; any other vertex has as many as the largest of its targets. Every convolution is followed by a batch norm
(2 parameters a channel) and has no bias; an edge from the input is a 1x1 convolution of its own.

The numbers in the published files agree (the tests compare 151,644 modules). Who gets the extra channel depends on the
order of the vertices, so a module and its relabelling may differ, by less than 1 %.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_STEM = 3 * 3 * 3 * 128 + 2 * 128
_CLASSIFIER = 512 * 10 + 10
#: (input, output) channels of the nine modules
_MODULES = [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 2 + [(256, 512)] + [(512, 512)] * 2
_KERNEL = np.array([9, 1, 0])  # weights a pair of channels: conv3x3, conv1x1, maxpool3x3


def parameters(matrices: npt.NDArray[np.int8], labels: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Trainable parameters `[N]` of the networks of pruned modules `matrices[N, V, V]` with `labels[N, V]`.

    Labels are those of `nb101_batch.module_hashes`; vertices without edges are padding.

    >>> chain = np.eye(3, k=1, dtype=np.int8)[None]  # input -> conv3x3 -> output
    >>> parameters(chain, np.array([[-1, 0, -2]], dtype=np.int8)).tolist()
    [10177674]
    """
    total = np.full(len(matrices), _STEM + _CLASSIFIER, dtype=np.int64)
    for inputs, outputs in _MODULES:
        total += _module(matrices != 0, labels, inputs, outputs)
    return total


def _module(m: npt.NDArray[np.bool_], labels: npt.NDArray[np.int8], inputs: int, outputs: int) -> npt.NDArray[np.int64]:
    last = m.shape[1] - 1
    channels = vertex_channels(m, outputs)
    total = np.where(m[:, 0, last], inputs * outputs + 2 * outputs, 0)
    for v in range(1, last):
        c = channels[:, v]
        kernel = _KERNEL[np.clip(labels[:, v], 0, 2)]
        total += np.where(m[:, 0, v], inputs * c + 2 * c, 0)
        total += np.where(kernel > 0, kernel * c * c + 2 * c, 0)
    return total


def vertex_channels(m: npt.NDArray[np.bool_], outputs: int) -> npt.NDArray[np.int64]:
    """Channels `[N, V]` of the inner vertices of pruned modules `m[N, V, V]` of `outputs` channels; 0 for padding.

    >>> two = np.array([[[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]], dtype=bool)
    >>> vertex_channels(two, 5).tolist()
    [[0, 3, 2, 0]]
    """
    last = m.shape[1] - 1
    feeds = m[:, :, last].copy()
    feeds[:, 0] = False
    share, rest = np.divmod(outputs, np.maximum(feeds.sum(axis=1), 1))
    place = np.cumsum(feeds, axis=1)  # 1 for the first that feeds the output
    out = np.where(feeds, share[:, None] + (place <= rest[:, None]), 0)
    for v in range(last - 1, 0, -1):
        inner = np.where(m[:, v, v + 1 : last], out[:, v + 1 : last], 0).max(axis=1, initial=0)
        out[:, v] = np.where(feeds[:, v], out[:, v], inner)
    return out

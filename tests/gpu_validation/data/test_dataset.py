"""Mini-batches are a pure function of (split, seed, step), and augmentation does what its name says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_validation.data import DATASETS, Dataset, batch, batches, load_dataset
from gpu_validation.data.dataset import SPLITS
from nasbench_sim.errors import SpecError, TableError

DATA = load_dataset("synthetic")
PLAIN = replace(DATA, pad=0, flip=False)


@given(st.integers(0, 2**62), st.integers(0, 500), st.integers(1, 64), st.sampled_from(SPLITS))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_a_pure_function_and_has_its_size(seed: int, step: int, size: int, split: str) -> None:
    x, y = batch(DATA, split, seed=seed, step=step, size=size)
    batch(DATA, split, seed=seed + 1, step=step + 3, size=size)  # whatever was drawn in between
    again = batch(DATA, split, seed=seed, step=step, size=size)
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])
    assert x.shape == (size, 3, 8, 8) and x.dtype == torch.float32 and y.shape == (size,)


@pytest.mark.parametrize("size", [64, 16, 24])
def test_an_epoch_holds_every_image_once_but_for_what_fills_the_last_batch(size: int) -> None:
    steps = -(-64 // size)
    seen = torch.cat([batch(PLAIN, "train", seed=4, step=i, size=size)[0] for i in range(steps)])
    pixels = PLAIN.normalised(PLAIN.images["train"])
    counts = [int((seen == image).all(dim=(1, 2, 3)).sum()) for image in pixels]
    assert sorted(counts) == [1] * (2 * 64 - steps * size) + [2] * (steps * size - 64)
    other = torch.cat([batch(PLAIN, "train", seed=4, step=steps + i, size=size)[0] for i in range(steps)])
    assert not torch.equal(seen, other)  # the next epoch has an order of its own


def test_seeds_and_splits_have_streams_of_their_own() -> None:
    one = batch(PLAIN, "train", seed=1, step=0, size=8)[0]
    assert not torch.equal(one, batch(PLAIN, "train", seed=2, step=0, size=8)[0])
    same_images = replace(PLAIN, images={**PLAIN.images, "valid": PLAIN.images["train"]})
    assert not torch.equal(one, batch(same_images, "valid", seed=1, step=0, size=8)[0])


def test_augmentation_mirrors_and_moves_with_black_behind() -> None:
    """Every augmented image is one of the 2 x 5 x 5 moved images that padding, cropping and flipping can make."""
    data = replace(DATA, pad=2, flip=True)
    seen, moved = set(), 0
    for step in range(6):
        x, _ = batch(data, "train", seed=0, step=step, size=16)
        raw, _ = batch(data, "train", seed=0, step=step, size=16, augment=False)
        raw_pixels = (raw + torch.tensor(2.5)) * 0.2 * 255  # mean 0.5, sd 0.2
        for image, plain in zip(x, raw_pixels, strict=True):
            padded = torch.nn.functional.pad(plain.round(), (2, 2, 2, 2))
            ways = [(f, dy, dx) for f in (0, 1) for dy in range(5) for dx in range(5)]
            found = [way for way in ways if torch.allclose(crop(padded, *way, data), image, atol=1e-4)]
            assert found
            seen.add(found[0])
            moved += found[0] != (0, 2, 2)
    assert len(seen) > 20 and moved > 80 and {f for f, _, _ in seen} == {0, 1}


def crop(padded: torch.Tensor, flip: int, dy: int, dx: int, data: Dataset) -> torch.Tensor:
    part = padded[:, dy : dy + 8, dx : dx + 8]
    return data.normalised((part.flip(-1) if flip else part)[None])[0]


def test_normalisation_is_what_it_says() -> None:
    data = load_dataset("digits")
    x = data.normalised(data.images["train"])
    assert float(x.mean()) == pytest.approx(0, abs=1e-4) and float(x.std()) == pytest.approx(1, abs=1e-3)


def test_digits_are_stratified_thirds_without_a_common_image() -> None:
    data = load_dataset("digits")
    for label in range(10):
        counts = [int((data.labels[s] == label).sum()) for s in SPLITS]
        assert max(counts) - min(counts) <= 1
    from sklearn.datasets import load_digits

    everything = np.concatenate([data.images[s].numpy().reshape(-1, 64) for s in SPLITS])
    original = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    assert np.array_equal(np.unique(everything, axis=0), np.unique(original, axis=0)) and len(everything) == 1797


@pytest.mark.parametrize("size", [2, 7, 9, 21, 63, 64, 500])
def test_evaluation_sees_every_image_in_order_and_never_one_alone(size: int) -> None:
    parts = list(batches(PLAIN, "test", size))
    assert torch.equal(torch.cat([y for _, y in parts]), PLAIN.labels["test"])
    assert min(len(y) for _, y in parts) >= 2
    assert torch.equal(torch.cat([x for x, _ in parts]), PLAIN.normalised(PLAIN.images["test"]))


def test_the_sha256_is_of_everything_that_decides_a_batch() -> None:
    assert DATA.sha256 == load_dataset("synthetic").sha256
    changed = DATA.images["valid"].clone()
    changed[3, 0, 0, 0] ^= 1
    others = [replace(DATA, pad=2), replace(DATA, flip=True), replace(DATA, mean=(0.4,) * 3)]
    others.append(replace(DATA, images={**DATA.images, "valid": changed}))
    assert len({d.sha256 for d in [DATA, *others]}) == 5


def test_what_is_refused() -> None:
    for how in ({"size": 0}, {"size": 65}, {"seed": -1}, {"step": -1}):
        with pytest.raises(SpecError):
            batch(DATA, "train", **{"seed": 0, "step": 0, "size": 4, **how})
    with pytest.raises(SpecError, match="unknown split 'vaild'; did you mean 'valid'"):
        DATA.size("vaild")
    with pytest.raises(SpecError, match="at least 2 images"):
        next(batches(DATA, "train", 1))
    with pytest.raises(SpecError, match="unknown data set 'cifar'"):
        load_dataset("cifar")
    with pytest.raises(SpecError, match="labels are 0"):
        replace(DATA, labels={**DATA.labels, "test": DATA.labels["test"] + 5})
    with pytest.raises(SpecError, match="different shapes"):
        replace(DATA, images={**DATA.images, "test": DATA.images["test"][..., :7]})
    with pytest.raises(SpecError, match="has no split test"):
        replace(DATA, images={k: v for k, v in DATA.images.items() if k != "test"})
    with pytest.raises(SpecError, match="uint8"):
        replace(DATA, images={k: v.float() for k, v in DATA.images.items()})
    for name in set(DATASETS) - {"digits", "synthetic", "fashion-mnist", "fashion-mini"}:
        with pytest.raises(TableError, match="--data-folder"):
            load_dataset(name)


@pytest.mark.gpu
def test_a_gpu_sees_the_same_batches() -> None:
    theirs = load_dataset("synthetic", device="cuda")
    for step in range(5):
        a, b = (batch(replace(d, flip=True), "train", seed=3, step=step, size=16) for d in (DATA, theirs))
        assert torch.allclose(a[0], b[0].cpu(), atol=1e-6) and torch.equal(a[1], b[1].cpu())

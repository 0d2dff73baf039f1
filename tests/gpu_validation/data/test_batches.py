"""Mini-batches: every image once an epoch, augmentation as defined, a pure function of (seed, step)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_validation.data import Dataset, batch, batches, load_dataset
from gpu_validation.search import check_device
from nasbench_sim.errors import SpecError


def numbered(n: int, size: int = 6, *, flip: bool = False, pad: int = 0) -> Dataset:
    """Images whose every pixel is different, so that it can be told where it came from; mean 0, deviation 1."""
    pixels = torch.arange(1, size * size + 1, dtype=torch.uint8).view(1, 1, size, size)
    images = {s: pixels.repeat(n, 1, 1, 1) for s in ("train", "valid", "test")}
    labels = {s: torch.arange(n) for s in images}
    return Dataset("numbered", n, images, labels, (0.0,), (1.0,), flip=flip, pad=pad)


@given(n=st.integers(2, 40), size=st.integers(1, 40), seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_an_epoch_holds_every_image_once_before_any_comes_again(n: int, size: int, seed: int) -> None:
    size = min(size, n)
    data = numbered(n)
    steps = -(-n // size)
    for epoch in (0, 3):
        labels = [batch(data, "train", seed=seed, step=epoch * steps + i, size=size)[1] for i in range(steps)]
        assert sorted(torch.cat(labels)[:n].tolist()) == list(range(n))
        assert all(len(part) == size for part in labels)


def test_a_batch_depends_on_seed_and_step_and_nothing_else() -> None:
    data = load_dataset("synthetic")
    first = batch(data, "train", seed=3, step=5, size=16)
    torch.rand(7)
    for step in (0, 11, 2):
        batch(data, "train", seed=3, step=step, size=16)
    again = batch(load_dataset("synthetic"), "train", seed=3, step=5, size=16)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    for other in ({"seed": 4}, {"step": 6}, {"size": 17}):
        changed = batch(data, "train", **{"seed": 3, "step": 5, "size": 16, **other})
        assert changed[0].shape != first[0].shape or not torch.equal(changed[0], first[0])
    assert not torch.equal(batch(data, "valid", seed=3, step=5, size=16)[1], first[1])


def test_no_global_generator_is_touched() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    batch(load_dataset("synthetic"), "train", seed=1, step=1, size=8)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_moved_and_mirrored_images_are_crops_of_the_padded_ones() -> None:
    data = numbered(64, flip=True, pad=2)
    whole = np.pad(data.images["train"][0, 0].numpy(), 2)
    crops = {}
    for mirrored in (False, True):
        for i in range(5):
            for j in range(5):
                crop = whole[i : i + 6, j : j + 6]
                crops[(crop[:, ::-1] if mirrored else crop).tobytes()] = (mirrored, i, j)
    assert len(crops) == 50
    seen = []
    for step in range(40):
        x, _ = batch(data, "train", seed=0, step=step, size=64)
        pixels = (x * 255).round().to(torch.uint8).numpy()
        seen += [crops[image.tobytes()] for image in pixels[:, 0]]  # a KeyError is an image that no crop gives
    counts = np.array([seen.count(place) for place in crops.values()])
    chi2 = float(((counts - len(seen) / 50) ** 2 / (len(seen) / 50)).sum())
    assert chi2 < 100  # 49 degrees of freedom: 1 in 60,000 above 100


def test_evaluation_is_in_order_and_never_augmented() -> None:
    data = numbered(10, flip=True, pad=2)
    parts = list(batches(data, "test", 3))
    assert [len(y) for _, y in parts] == [3, 3, 4]
    assert torch.cat([y for _, y in parts]).tolist() == list(range(10))
    assert torch.allclose(torch.cat([x for x, _ in parts]) * 255, data.images["test"].float())
    plain, _ = batch(data, "train", seed=0, step=0, size=10, augment=False)
    assert torch.allclose(plain * 255, data.images["train"].float())


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    data = load_dataset("digits")
    x = data.normalised(data.images["train"])
    assert float(x.mean()) == pytest.approx(0, abs=1e-5) and float(x.std()) == pytest.approx(1, abs=1e-3)


def test_digits_are_thirds_of_every_class_and_share_no_image() -> None:
    data = load_dataset("digits")
    counts = np.array([np.bincount(data.labels[s]) for s in ("train", "valid", "test")])
    assert counts.sum() == 1797 and (np.ptp(counts, axis=0) <= 1).all()


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"size": 65}, {"size": -1}, {"seed": -1}, {"step": -1}],
)
def test_impossible_batches(wrong: dict[str, int]) -> None:
    with pytest.raises(SpecError):
        batch(load_dataset("synthetic"), "train", **{"seed": 0, "step": 0, "size": 8, **wrong})


def test_unknown_names_and_devices(tmp_path: object) -> None:
    with pytest.raises(SpecError, match="did you mean 'cifar10'"):
        load_dataset("cifar-10")
    with pytest.raises(SpecError, match="unknown split"):
        batch(load_dataset("synthetic"), "train+", seed=0, step=0, size=8)
    with pytest.raises(SpecError, match="at least 2"):
        next(batches(load_dataset("synthetic"), "train", 1))
    if not torch.cuda.is_available():
        with pytest.raises(SpecError, match="no CUDA device is visible"):
            check_device("cuda")


def test_inconsistent_data_sets_are_refused() -> None:
    good = numbered(4)
    for change in (
        {"classes": 3},
        {"images": {**good.images, "test": good.images["test"].float()}},
        {"images": {**good.images, "test": good.images["test"][:, :, :3]}},
        {"labels": {**good.labels, "valid": good.labels["valid"][:2]}},
        {"labels": {k: v for k, v in good.labels.items() if k != "test"}},
    ):
        values = {"images": good.images, "labels": good.labels, "classes": 4, **change}
        with pytest.raises(SpecError):
            Dataset("wrong", values["classes"], values["images"], values["labels"], (0.0,), (1.0,))  # type: ignore[arg-type]

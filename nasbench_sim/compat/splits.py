"""Names of data sets and splits as the original packages use them, and what their answers are put together from."""

from __future__ import annotations

from nasbench_sim.errors import SpecError

#: data sets that training can be simulated on; cifar10 stands for the run cifar10-valid there
SIMULATED = ("cifar10", "cifar100", "ImageNet16-120")
#: numbers of a split in an answer
NUMBERS = ("loss", "accuracy")


def answer_parts(dataset: str) -> tuple[tuple[str, str], ...]:
    """Prefix of the answer's keys and the official split, for the runs on a data set."""
    if dataset == "cifar10-valid":
        return ("train", "train"), ("valid", "x-valid"), ("test", "ori-test")
    if dataset == "cifar10":
        return ("train", "train"), ("test", "ori-test")
    return ("train", "train"), ("valid", "x-valid"), ("test", "x-test"), ("valtest", "ori-test")


def remap(dataset: str, metric_on_set: str) -> tuple[str, str]:
    """The run and official split of a data set and `train`, `valid` or `test`.

    >>> remap("cifar10", "valid"), remap("cifar100", "test")
    (('cifar10-valid', 'x-valid'), ('cifar100', 'x-test'))
    """
    if not isinstance(dataset, str) or not isinstance(metric_on_set, str):
        raise SpecError(f"a data set and a set are text, not {dataset!r:.40} and {metric_on_set!r:.40}")
    known = {"valid": ("cifar10-valid", "x-valid"), "test": ("cifar10", "ori-test")}
    if dataset == "cifar10":
        return known.get(metric_on_set, (dataset, metric_on_set))
    if dataset in ("cifar100", "ImageNet16-120"):
        return dataset, {"valid": "x-valid", "test": "x-test"}.get(metric_on_set, metric_on_set)
    return dataset, metric_on_set

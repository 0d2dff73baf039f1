"""One line an axis: what an ablation says of it, in words that a reader can act on."""

from __future__ import annotations

from collections.abc import Sequence

from nasbench_sim.reporting.effects import CORRECTIONS, LEAST, TRAINING_NOISE, Correction, Effect


def verdicts(found: Sequence[Effect], role: str, correction: Correction = "holm") -> list[str]:
    """One line an axis and panel about its values against the baseline, strongest first; panels named where several.

    >>> from nasbench_sim.runs.grid import Panel
    >>> effect = Effect(Panel("cifar10", "shared"), "init_precision", "1", "10000", 90.5, 93.6, -3.1, -4.0, -2.2, 1e-9,
    ...                 2e-9, -0.98, 100, 4, 400, 0, 0)
    >>> verdicts([effect], "test")[0]
    'init_precision: 1 against 10000 changes test by -3.10 points [-4.00, -2.20], p = 2e-09 (Holm): matters'
    """
    groups: dict[tuple[object, str], list[Effect]] = {}
    for effect in found:
        groups.setdefault((effect.panel, effect.axis), []).append(effect)
    several = len({effect.panel for effect in found}) > 1
    out = []
    for (_, axis), group in groups.items():
        title = group[0].panel.title
        where = f"{title}: " if several and title else ""
        out.append(f"{where}{axis}: {_verdict(group, role, correction)}{_failures(group)}")
    return out


def _verdict(group: Sequence[Effect], role: str, correction: Correction) -> str:
    told = [effect for effect in group if effect.difference is not None]
    if not told:
        return "nothing can be compared"
    seeds = min(effect.seeds for effect in told)
    if seeds < 2:
        return f"one seed tells nothing; run {LEAST} or more"
    differing = [effect for effect in told if effect.differs]
    if not differing:
        bound = max(max(abs(effect.low or 0.0), abs(effect.high or 0.0)) for effect in told)
        few = f" (with {seeds} seeds no test can reach p < 0.05; run {LEAST} or more)" if seeds < LEAST else ""
        seen = (
            f"no effect larger than {bound:.2f} points can be seen"
            if bound
            else "every search ends on the same accuracy"
        )
        return seen + few
    top = max(differing, key=lambda effect: abs(effect.difference or 0.0))
    size, low, high = abs(top.difference or 0.0), top.low or 0.0, top.high or 0.0
    word = "matters" if size >= TRAINING_NOISE else f"real, but below the {TRAINING_NOISE} points of training noise"
    if low * (top.rank_biserial or 0.0) <= 0 or high * (top.rank_biserial or 0.0) <= 0:
        # ranks see most seeds, the mean sees the few that collapse
        word = f"most seeds {'rise' if (top.rank_biserial or 0.0) > 0 else 'fall'}, their mean need not"
    also = f" ({len(differing)} of {len(group)} values differ)" if len(group) > 1 else ""
    return (
        f"{top.value} against {top.baseline} changes {role} by {top.difference:+.2f} points "
        f"[{top.low:+.2f}, {top.high:+.2f}], {_p(top.p_corrected)} ({CORRECTIONS[correction]}): {word}{also}"
    )


def _p(p: float | None) -> str:
    return "p < 1e-300" if not p else f"p = {p:.1g}"


def _failures(group: Sequence[Effect]) -> str:
    """Failed searches by value, the baseline's too; nothing where none failed."""
    counts = [(effect.value, effect.failed, effect.searches) for effect in group if effect.failed]
    first = group[0]
    if first.baseline_failed:
        counts.append((f"the baseline {first.baseline}", first.baseline_failed, first.searches))
    return "".join(f"; {n} of {of} searches failed at {value}" for value, n, of in counts)

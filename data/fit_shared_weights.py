"""Fit the weight-sharing model to recorded supernets; writes data/shared_weights.json.

    python data/fit_shared_weights.py --trajectories supernet_trajectories.json
    python data/fit_shared_weights.py --trajectories supernet_trajectories.json --keep  # new scores, no new fit

Fitted to: the operation means and the spread over edges of theta by epoch, of one DARTS run (seed 1) and of one
BaLeNAS run (initial precision 100, 1 draw), both of one small supernet. `rate_progress` comes from the DARTS training
accuracy alone, taken as that of a uniform mixture. Held out: the two BaLeNAS runs at initial precision 1, and the skip
probabilities of DARTS seed 0. Published search results are never used. The recordings are compared with the mean over
simulated seeds, so a single run's luck stays in the residual.

These recordings have hardly a mixture that is drawn anew each step. How much it takes off (`steadiness_power`) comes
from the fit that has seen such methods (DrNAS, SNAS): data/calibration/breadth.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit, least_squares
from threadpoolctl import threadpool_limits

from nasbench_sim import Horizon, SharedWeightsLandscape, SharedWeightsParams, get_method, open_table
from nasbench_sim.files import atomic_path, sha256_file

WHAT = (
    "Parameters of the weight-sharing model (nasbench_sim.SharedWeightsLandscape). They are fitted to recordings of "
    "ONE small supernet (NAS-Bench-201, 8 channels, 1 cell a stage, 5,000 + 5,000 CIFAR-10 images, 40 epochs); "
    "steadiness_power is that of data/calibration/breadth.json (another small supernet, Fashion-MNIST). Transfer to "
    "other settings is an assumption."
)
STEADINESS = Path(__file__).with_name("calibration") / "breadth.json"
SEEDS = np.arange(48)
HORIZON = Horizon(epochs=40, steps_per_epoch=78)
DARTS = ("darts", {"lr": 1.5e-3})
VADAM = {"lr": 1.5e-3, "train_size": 5000, "square_of": "mean"}
# free parameter -> (start, lower, upper); all on a log scale but those of LINEAR
LINEAR = ("onset", "none_visibility", "preference nor_conv_3x3")
FREE = {
    "scale": (0.1, 1e-3, 10.0),
    "rate": (5.0, 0.05, 500.0),  # of both convolutions: one recording does not tell them apart
    "preference skip_connect": (0.05, 1e-3, 2.0),
    "preference avg_pool_3x3": (0.02, 1e-4, 2.0),
    "preference none": (0.01, 1e-4, 2.0),
    "preference nor_conv_3x3": (0.0, -2.0, 2.0),
    "none_visibility": (0.1, 0.0, 1.0),
    "onset": (0.6, 0.0, 0.95),
    "noise": (0.05, 1e-3, 5.0),
    "idiosyncrasy": (0.005, 1e-4, 1.0),
}


def to_params(x: NDArray[Any], rate_progress: float) -> SharedWeightsParams:
    """Model parameters of a point of the search."""
    v = {n: float(x[i]) if n in LINEAR else float(np.exp(x[i])) for i, n in enumerate(FREE)}
    return SharedWeightsParams(
        scale=v["scale"],
        rate={"nor_conv_1x1": v["rate"], "nor_conv_3x3": v["rate"]},
        rate_progress=rate_progress,
        preference={n.split()[1]: v[n] for n in v if n.startswith("preference ")},
        none_visibility=v["none_visibility"],
        onset=v["onset"],
        noise=v["noise"],
        idiosyncrasy=v["idiosyncrasy"],
    )


def simulate(
    table: Any, params: SharedWeightsParams, method: str, settings: dict[str, Any], epochs: int
) -> NDArray[Any]:
    """theta `[S, epochs, D, K]` of simulated searches in the recorded setting."""
    land = SharedWeightsLandscape(table, dataset="cifar10", split="valid", epochs=200, params=params)
    searcher = get_method(method).make(**settings)
    state, shared = searcher.init(land.space, SEEDS, np.float32), land.init(SEEDS, HORIZON)
    out = []
    for _ in range(epochs):
        for _ in range(HORIZON.steps_per_epoch):
            state, shared, _info = searcher.step(state, land, shared)
        out.append(searcher.distribution(state))
    return np.stack(out, axis=1).astype(np.float64)


def features(theta: NDArray[Any]) -> NDArray[Any]:
    """Operation means and half-weighted spreads over edges by epoch, of `theta[..., epochs, D, K]`."""
    return np.concatenate([theta.mean(axis=-2), 0.5 * theta.std(axis=-2)], axis=-1)


def r_squared(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """1 - residual / variation of the operation means around their mean over epochs."""
    return float(1 - ((ours - theirs) ** 2).sum() / ((theirs - theirs.mean(axis=0)) ** 2).sum())


def main() -> None:
    """Fit, hold out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("shared_weights.json"))
    parser.add_argument("--keep", action="store_true", help="keep the fit in --out, with the steadiness of today")
    parser.add_argument("--evaluations", type=int, default=22, help="Jacobian evaluations of least_squares")
    args = parser.parse_args()
    table = open_table("nb201")
    runs = json.loads(args.trajectories.read_text())["runs"]
    recorded = [np.array([e["theta"] for e in r["epochs"]]) if "theta" in r["epochs"][0] else None for r in runs]
    darts, ip100, ip1, ip1_m3 = recorded[:4]

    accuracy = np.array([e["train_acc"] for e in runs[0]["epochs"]])
    passes = np.arange(1, 41)
    (rate,), _ = curve_fit(lambda t, r: r * t / (1 + r * t), passes, (accuracy - 0.1) / 0.9, p0=[0.1])
    progress = rate * passes / (1 + rate * passes)  # what dp = rate (1 - p)^2 integrates to
    follows = r_squared(progress[:, None], (accuracy[:, None] - 0.1) / 0.9)

    def residuals(x: NDArray[Any]) -> NDArray[Any]:
        params = to_params(x, rate)
        parts = []
        for method, settings, theirs in (
            (*DARTS, darts),
            ("balenas", {**VADAM, "samples": 1, "init_precision": 100.0}, ip100),
        ):
            ours = simulate(table, params, method, settings, len(theirs))
            parts.append((features(ours).mean(axis=0) - features(theirs)).ravel())
        return np.concatenate(parts)

    start = np.array([v[0] if n in LINEAR else np.log(v[0]) for n, v in FREE.items()])
    low, high = (np.array([v[i] if n in LINEAR else np.log(v[i]) for n, v in FREE.items()]) for i in (1, 2))
    began = time.time()
    steadiness = json.loads(STEADINESS.read_text())["fitted"]["steadiness_power"]
    with threadpool_limits(1):
        if args.keep:
            before = json.loads(args.out.read_text())
            params, cost, seconds = SharedWeightsParams.load(args.out), before["cost"], before["seconds"]
        else:
            fit = least_squares(
                residuals, start, bounds=(low, high), diff_step=0.03, max_nfev=args.evaluations, verbose=2
            )
            params, cost, seconds = to_params(fit.x, rate), float(fit.cost), round(time.time() - began)
        params = params.model_copy(update={"steadiness_power": steadiness})
        scores = {"training accuracy by p (rate_progress fitted)": round(follows, 4)}
        for name, method, settings, theirs in (
            ("DARTS seed 1 (fitted)", *DARTS, darts),
            (
                "BaLeNAS initial precision 100, M 1 (fitted)",
                "balenas",
                {**VADAM, "samples": 1, "init_precision": 100.0},
                ip100,
            ),
            (
                "BaLeNAS initial precision 1, M 1 (held out)",
                "balenas",
                {**VADAM, "samples": 1, "init_precision": 1.0},
                ip1,
            ),
            (
                "BaLeNAS initial precision 1, M 3 (held out)",
                "balenas",
                {**VADAM, "samples": 3, "init_precision": 1.0},
                ip1_m3,
            ),
        ):
            ours = simulate(table, params, method, settings, len(theirs))
            scores[name] = round(r_squared(ours.mean(axis=(0, 2)), theirs.mean(axis=1)), 4)
        skips = {e["epoch"]: np.mean(e["skip_prob"]) for e in runs[4]["epochs"]}
        ours = simulate(table, params, *DARTS, 40)[:, :, :, 1].mean(axis=(0, 2))
        scores["DARTS seed 0, mean skip probability (held out)"] = round(
            r_squared(ours[list(skips)][:, None], np.array(list(skips.values()))[:, None]), 4
        )
    with atomic_path(args.out) as part:
        part.write_text(
            json.dumps(
                {
                    "what": WHAT,
                    "command": "python data/fit_shared_weights.py --trajectories supernet_trajectories.json",
                    "trajectories_sha256": sha256_file(args.trajectories),
                    "table_sha256": table.sha256,
                    "params": {k: _rounded(v) for k, v in params.model_dump(exclude_defaults=True).items()}
                    | {"lr_max": params.lr_max, "lr_min": params.lr_min},
                    "r_squared": scores,
                    "cost": cost,
                    "seconds": seconds,
                },
                indent=1,
            )
            + "\n"
        )
    print(json.dumps(scores, indent=1), params)


def _rounded(value: Any) -> Any:
    return {k: _rounded(v) for k, v in value.items()} if isinstance(value, dict) else float(f"{value:.5g}")


if __name__ == "__main__":
    main()

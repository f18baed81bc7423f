"""How often the gate's rule errs: other seeds of one recipe that it refuses, and worse models that it lets pass.

The recipe of params.yaml is trained with many seeds, once (kept in sweeps/noise). Candidates and champions are drawn
from them, as many seeds to a side as `evaluate.seeds`, and compared by log loss on the test rows. A worse candidate has
the same networks, made worse by 0.5 to 4 % of log loss in three ways: probabilities drawn towards the mean, noise added
to logits, and too sure of themselves. Each rule judges the same draws:

- by row: the whole interval of single rows must lie within the margin;
- by block: the whole interval of blocks (with means: and of seeds) must;
- the gate's: `check_no_worse_than` for the means over seeds, and the packaged seed by its value.

Usage, in the root of the repository, where `merit run` has made the features:
    python benchmarks/noise.py [--seeds N] [--draws N] [--margin M] [--svg FILE]
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.gate.verdict import Verdict, check_no_worse_than
from merit.metrics import Estimate, Resampling, blocks, estimate_mean, prepare_metrics
from merit.metrics.bootstrap import compute_seed_reach
from merit.models import build
from merit.training.seeds import train_seed

FOLDER = Path("sweeps/noise")
SHARES = (0.0, 0.005, 0.01, 0.02, 0.04)
Array = NDArray[np.float64]


def main() -> None:
    """Train what is missing, judge the draws by each rule, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--margin", type=float, help="instead of that of gate.champion for log_loss")
    parser.add_argument("--svg", type=Path, help="draw the shares into a file")
    arguments = parser.parse_args()
    lock = locks.read_lock()
    margin = arguments.margin or next(each.margin for each in lock.gate.champion if each.metric == "log_loss")
    rows = artifacts.read_table(artifacts.TEST_ROWS, "features")
    target = rows[lock.data.target.name].to_numpy().astype(float)
    losses = [compute_loss(target, predict(lock, seed)) for seed in range(arguments.seeds)]
    degraded = {0.0: {"": losses}}
    for share in SHARES[1:]:
        degraded[share] = {
            name: [compute_loss(target, worsen(target, predict(lock, seed), way, share)) for seed in range(len(losses))]
            for name, way in WAYS.items()
        }
    means = np.array([each.mean() for each in losses])
    print(f"log loss of {len(means)} seeds: {means.mean():.4f}, deviation {means.std(ddof=1):.4f}; margin {margin:g}")
    resamplings = (
        Resampling(1, lock.gate.confidence, lock.seed),
        Resampling(1, 2 * lock.gate.confidence - 1, lock.seed, blocks.number_blocks(lock, rows)),
    )
    shares = judge_draws(lock.evaluate.seeds, degraded, margin, resamplings, arguments.draws)
    show(shares)
    if arguments.svg:
        draw(shares, arguments.svg)


def predict(lock: Lock, seed: int) -> Array:
    """Return the test predictions of the recipe with a seed, trained now or before."""
    path = FOLDER / f"{seed}.npy"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            train_seed(lock, seed, Path(folder))
            network = build.load_trained(lock, Path(folder) / artifacts.WEIGHTS.name)
            np.save(path, build.predict_rows(network, build.read_part("test")))
    return np.load(path).astype(float)


def compute_loss(target: Array, probability: Array) -> Array:
    """Return the log loss of each row."""
    return prepare_metrics("binary", target, probability).compute_losses()


def to_logit(probability: Array) -> Array:
    """Return the logits."""
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.log(clipped / (1 - clipped))


def to_probability(logit: Array) -> Array:
    """Return the probabilities."""
    return 1 / (1 + np.exp(-logit))


def shrink(probability: Array, amount: float) -> Array:
    """Draw the logits towards their mean."""
    logit = to_logit(probability)
    return to_probability(logit.mean() + (logit - logit.mean()) * (1 - amount))


def add_noise(probability: Array, amount: float) -> Array:
    """Add normal noise to the logits."""
    return to_probability(to_logit(probability) + 3 * amount * np.random.default_rng(0).normal(size=len(probability)))


def overstate(probability: Array, amount: float) -> Array:
    """Stretch the logits away from their mean."""
    logit = to_logit(probability)
    return to_probability(logit.mean() + (logit - logit.mean()) * (1 + 4 * amount))


WAYS: dict[str, Callable[[Array, float], Array]] = {
    "towards the mean": shrink,
    "noise": add_noise,
    "too sure": overstate,
}


def worsen(target: Array, probability: Array, way: Callable[[Array, float], Array], share: float) -> Array:
    """Return predictions whose log loss is greater by a share; the amount is found by bisection."""
    goal = compute_loss(target, probability).mean() * (1 + share)
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if compute_loss(target, way(probability, middle)).mean() < goal else (low, middle)
    return way(probability, high)


def judge_draws(
    seeds: int,
    degraded: dict[float, dict[str, list[Array]]],
    margin: float,
    resamplings: tuple[Resampling, Resampling],
    draws: int,
) -> dict[str, dict[float, dict[Verdict, float]]]:
    """Return the share of each verdict by rule and by how much worse the candidate is."""
    generator, losses = np.random.default_rng(0), degraded[0.0][""]
    verdicts: dict[str, dict[float, list[Verdict]]] = {}
    for share, ways in track(degraded.items(), "judging"):
        for number in range(draws):
            name = list(ways)[number % len(ways)]
            order = generator.permutation(len(losses))
            candidates = [ways[name][index] for index in order[:seeds]]
            champions = [losses[index] for index in order[seeds : 2 * seeds]]
            for rule, verdict in judge(candidates, champions, margin, *resamplings).items():
                verdicts.setdefault(rule, {}).setdefault(share, []).append(verdict)
    return {
        rule: {
            share: {verdict: found.count(verdict) / len(found) for verdict in Verdict}
            for share, found in by_share.items()
        }
        for rule, by_share in verdicts.items()
    }


def judge(
    candidates: list[Array], champions: list[Array], margin: float, by_row: Resampling, by_block: Resampling
) -> dict[str, Verdict]:
    """Return the verdict of each rule on one comparison."""
    single = estimate_mean(candidates[0] - champions[0], by_row)
    single_blocks = estimate_mean(candidates[0] - champions[0], by_block)
    difference = estimate_mean(np.mean(candidates, axis=0) - np.mean(champions, axis=0), by_block)
    points = [[float(each.mean()) for each in side] for side in (candidates, champions)]
    reach = np.hypot(difference.high - difference.value, compute_seed_reach(points, by_block.confidence))
    widened = Estimate(difference.value, difference.value - reach, difference.value + reach)
    verdict = check_no_worse_than(widened, margin)
    if verdict == Verdict.PASS and points[0][0] - float(np.mean(points[1])) > margin:
        verdict = Verdict.FAIL  # the packaged seed
    return {
        "by row, one seed": judge_whole(single, margin),
        "by block, one seed": judge_whole(single_blocks, margin),
        "by block, means of seeds": judge_whole(widened, margin),
        "the gate's": verdict,
    }


def judge_whole(loss: Estimate, margin: float) -> Verdict:
    """Judge a whole interval against the margin."""
    if loss.high <= margin:
        return Verdict.PASS
    return Verdict.FAIL if loss.low > margin else Verdict.INCONCLUSIVE


def show(shares: dict[str, dict[float, dict[Verdict, float]]]) -> None:
    """Print, by rule, the shares of refused and of inconclusive candidates."""
    table = Table("refused + inconclusive", *(f"worse by {share:.1%}" if share else "other seeds" for share in SHARES))
    for rule, by_share in shares.items():
        cells = (f"{by_share[s][Verdict.FAIL]:.1%} + {by_share[s][Verdict.INCONCLUSIVE]:.1%}" for s in SHARES)
        table.add_row(rule, *cells)
    Console().print(table)


def draw(shares: dict[str, dict[float, dict[Verdict, float]]], path: Path) -> None:
    """Draw the share that does not pass, by how much worse the candidate is."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6))
    for rule, by_share in shares.items():
        stopped: list[Any] = [1 - by_share[share][Verdict.PASS] for share in SHARES]
        refused: list[Any] = [by_share[share][Verdict.FAIL] for share in SHARES]
        line = axes.plot([100 * s for s in SHARES], [100 * s for s in stopped], "--", alpha=0.6)[0]
        axes.plot([100 * s for s in SHARES], [100 * s for s in refused], "-o", color=line.get_color(), label=rule)
    axes.set_xlabel("worse by, % of log loss")
    axes.set_ylabel("refused (dashed: or inconclusive), %")
    axes.legend(frameon=False)
    figure.tight_layout()
    mpl.rcParams["svg.hashsalt"] = "merit"
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()

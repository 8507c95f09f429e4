"""Test accuracy against wall-clock time: kerasnas, its parts left out one by one, and KerasTuner's own tuners.

    python benchmarks/time_to_accuracy.py --data fashion --limit 10000 --budget 900 --seeds 3
    python benchmarks/time_to_accuracy.py --data fashion --budget 300 --methods kerasnas kt.RandomSearch --seeds 1

Every method searches the same ConvDense space on the same data with the same epochs, batch size and patience, in a process of
its own, one after the other; AutoKeras searches its own space (see autokeras_search.py). When a trial has ended, the network
that the method would give out is tested; the clock stands still meanwhile. Trials under way when the time is over end with what
they have, for every method. Results are kept in --results, a file for each run, so that an interrupted benchmark goes on.

Data are looked for where `kerasnas.datasets` looks; CIFAR-10 in $KERASNAS_DATA (default ../shared/data), file
image/cifar10_jpeg_train.bin.xz.
"""

import json
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from image_search import BATCH, EPOCHS, PATIENCE, Clock, arguments, data, in_own_process

from kerasnas.atomic import atomic_path

NAMES = {"fashion": "Fashion-MNIST", "cifar10": "CIFAR-10"}
METHODS = (
    "kerasnas",
    "kerasnas without early stopping",
    "kerasnas with inheritance",
    "kerasnas without the model",
    "kerasnas without the defaults first",
    "kerasnas without the time ceiling",
    "kerasnas without the defaults first, the time ceiling",
    "kerasnas without the defaults first, the model",
    "kerasnas without its input pipeline",
    "kt.RandomSearch",
    "kt.Hyperband",
    "kt.BayesianOptimization",
    "AutoKeras",
)


def run(method: str, name: str, limit: int | None, budget: float, seed: int) -> dict[str, Any]:
    """Run one search; return the incumbent's test accuracy at the end of each trial, and what the time went into."""
    import keras
    import keras_tuner as kt
    from followed_tuner import FollowedTuner, TimedTuner

    from kerasnas.image_data import channel_statistics
    from kerasnas.oracles import DynaOracle, RandomOracle
    from kerasnas.search import NASTuner, fit_input
    from kerasnas.search.time_ceiling import TimeCeiling
    from kerasnas.spaces import ConvDense

    train, valid, test = data(name, limit, seed)
    mean, deviation = channel_statistics(train[0])
    space = ConvDense.small(train[0].shape[1:], 10, mean=mean, standard_deviation=deviation, flip=name == "cifar10")

    class Follow(FollowedTuner):
        points: ClassVar[list[dict[str, Any]]] = []
        clock = Clock()

        def test_accuracy(self, trial: Any) -> float:
            guesses = self.load_model(trial).predict(test[0], batch_size=256, verbose=0).argmax(axis=1)
            return float(np.mean(guesses == test[1]))

    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"directory": folder, "project_name": "search"}
        objective = kt.Objective("val_accuracy", "max")
        if method.startswith("kerasnas"):

            class Ours(Follow, NASTuner):
                def pre_create_trial(self) -> None:
                    self._budget.begin_search(self.clock.seconds)

            oracle = RandomOracle if "the model" in method else DynaOracle
            tuner = Ours(
                space,
                oracle(
                    objective=objective,
                    max_trials=None,
                    seed=seed,
                    initial_points=None if "defaults first" in method else [{}],
                ),
                max_time=budget,
                stopping=None if "early stopping" in method else "learning-curve",
                inherit="inheritance" in method,
                **settings,
            )
        else:
            kinds = {"kt.RandomSearch": kt.RandomSearch, "kt.Hyperband": kt.Hyperband}
            kind = kinds.get(method, kt.BayesianOptimization)

            class Theirs(Follow, TimedTuner, kind):  # type: ignore[valid-type, misc]
                pass

            Theirs.budget = budget
            own = {"max_epochs": EPOCHS, "factor": 3} if method == "kt.Hyperband" else {"max_trials": 10_000}
            tuner = Theirs(hypermodel=space, objective=objective, seed=seed + 1, **own, **settings)
        stop = keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=PATIENCE)
        fit_settings = {} if method == "kt.Hyperband" else {"epochs": EPOCHS}
        with ExitStack() as left_out, suppress(TimeoutError):
            if "time ceiling" in method:
                left_out.enter_context(patch.object(TimeCeiling, "seconds", None))
            if "input pipeline" in method:
                left_out.enter_context(patch.object(fit_input, "as_fast_input", lambda batches: batches))
                left_out.enter_context(patch.object(fit_input, "_read_validation_fast"))
            tuner.search(*train, validation_data=valid, batch_size=BATCH, callbacks=[stop], verbose=0, **fit_settings)
        fit = None
        if method.startswith("kerasnas"):
            histories = [json.loads(f.read_text("utf-8")) for f in Path(folder).glob("search/trial_*/history.json")]
            fit = sum(history["fit_seconds"] for history in histories)
    return {"points": Follow.points, "seconds": Follow.clock.seconds, "fit_seconds": fit}


def reached(points: list[dict[str, Any]], accuracy: float) -> float | None:
    """Return the seconds after which the incumbent's test accuracy was at least `accuracy`."""
    return next((p["seconds"] for p in points if (p["test"] or 0.0) >= accuracy), None)


def final(runs: list[dict[str, Any]]) -> list[float]:
    """Return the test accuracy at the end of each run, 0 of one that has no network."""
    return [(r["points"][-1]["test"] or 0.0) if r["points"] else 0.0 for r in runs]


def report(task: str, results: dict[str, list[dict[str, Any]]]) -> None:
    """Print the table: final accuracies, and when each method came to the best peer's final accuracy."""
    peers = [float(np.mean(final(runs))) for m, runs in results.items() if not m.startswith("kerasnas")]
    goal = max(peers, default=float("nan"))
    print(f"\n{task}: " + "; ".join(sorted({describe(r) for runs in results.values() for r in runs})))
    print(f"| method | runs | trials | test accuracy at the end | seconds to {goal:.4f} | outside of fit |")
    print("|---|---|---|---|---|---|")
    for method, runs in results.items():
        times = [reached(r["points"], goal) for r in runs]
        when = ", ".join("never" if t is None else f"{t:.0f}" for t in times)
        spread = f" ± {np.std(final(runs), ddof=1):.4f}" if len(runs) > 1 else ""
        outside = [1 - r["fit_seconds"] / r["seconds"] for r in runs if r.get("fit_seconds") is not None]
        trials = ", ".join(str(len(r["points"])) for r in runs)
        share = f"{np.mean(outside):.1%}" if outside else ""
        print(f"| {method} | {len(runs)} | {trials} | {np.mean(final(runs)):.4f}{spread} | {when} | {share} |")


def describe(result: dict[str, Any]) -> str:
    """Return what a run was made on."""
    machine = result["machine"]
    return f"{machine['cores']} core(s) of an {machine['cpu']}, {machine['int8']}"


def plot(tasks: dict[str, dict[str, list[dict[str, Any]]]], path: Path) -> None:
    """Draw the test accuracy of what would be given out over the seconds, a panel for each task, a line for each run."""
    mpl.use("Agg")
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.2 * len(tasks) + 2, 3.8), squeeze=False, layout="constrained")
    methods = [m for m in METHODS if any(m in results for results in tasks.values())]
    lines: dict[str, Any] = {}
    for axis, (task, results) in zip(axes.flat, tasks.items(), strict=True):
        for index, method in enumerate(methods):
            style = {"color": mpl.colormaps["tab10"](index % 10), "linewidth": 2.2 if method == METHODS[0] else 1.3}
            for run, result in enumerate(results.get(method, [])):
                points = [p for p in result["points"] if p["test"] is not None]
                seconds, accuracy = [p["seconds"] for p in points], [p["test"] for p in points]
                if points:
                    seconds, accuracy = [*seconds, max(result["seconds"], seconds[-1])], [*accuracy, accuracy[-1]]
                axis.step(seconds, accuracy, where="post", label=None if run else method, **style)
        lowest = min(final(runs)[0] for runs in results.values())
        axis.set_title(task, fontsize=10)
        axis.set(xlabel="seconds", ylabel="test accuracy of the best network so far", xlim=(0, None))
        axis.set_ylim(bottom=max(0.0, lowest - 0.1))
        axis.grid(alpha=0.25)
        lines |= {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}
    figure.legend([lines[m] for m in methods], methods, loc="outside right upper", frameon=False)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)


def kept(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return all results of a folder, by task and method."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for method in METHODS:
        label = method.replace(" ", "_")
        for file in sorted(folder.glob(f"*-{label}-*.json")):
            data, limit, budget = file.name.split(f"-{label}-")[0].split("-")
            task = f"{NAMES[data]}, {limit} pictures, {budget} s"
            found.setdefault(task, {}).setdefault(method, []).append(json.loads(file.read_text("utf-8")))
    return found


def main() -> None:
    parser = arguments(__doc__, Path(__file__).parent / "measured" / "time_to_accuracy")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS[:-1]))
    parser.add_argument("--autokeras", default=sys.executable, help="a Python that has it: see autokeras_search.py")
    parser.add_argument("--kept", action="store_true", help="make no runs: show all that the folder of results has")
    options = parser.parse_args()
    if options.run:
        (method,) = options.methods
        result = run(method, options.data, options.limit, options.budget, options.seeds)
        options.run.write_text(json.dumps(result), encoding="utf-8")
        return
    for seed in range(0 if options.kept else options.seeds):
        for method in options.methods:
            python, script = sys.executable, __file__
            if method == "AutoKeras":
                python, script = options.autokeras, str(Path(__file__).with_name("autokeras_search.py"))
            in_own_process(script, options, seed, ["--methods", method], python=python)
    tasks = kept(options.results)
    for task, results in tasks.items():
        report(task, results)
    if tasks:
        plot(tasks, options.results / "curves.png")


if __name__ == "__main__":
    main()

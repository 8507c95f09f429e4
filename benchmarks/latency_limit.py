"""What a limit on latency costs: a search within the limit against the unlimited winner made narrower.

    python benchmarks/latency_limit.py --limit 10000 --budget 900 --seeds 3

A search without limits finds a winner, whose latency is measured. A second search of the same budget may take half of that;
it learns from the trials of the first and begins with its winner, brought within the limit. The alternative is the first
winner with fewer channels: the widest that keeps the limit, all widths in proportion, trained from scratch as a trial is.
Both searches are of ConvDense with widths from 3 up, so that the space holds narrow networks, too. Every latency in the table
is measured again in the end, the three networks in turn, the fastest of three rounds.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from image_search import BATCH, EPOCHS, PATIENCE, arguments, data, in_own_process

ROUNDS = 3


def run(name: str, limit: int | None, budget: float, seed: int) -> dict[str, Any]:
    """Return latency and test accuracy of the three networks."""
    import keras
    import keras_tuner as kt

    from kerasnas.image_data import channel_statistics
    from kerasnas.oracles import DynaOracle
    from kerasnas.record import SearchRecord
    from kerasnas.search import NASTuner
    from kerasnas.search.latency import measure_latency
    from kerasnas.spaces import ConvDense

    train, valid, test = data(name, limit, seed)
    mean, deviation = channel_statistics(train[0])
    own = {"mean": mean, "standard_deviation": deviation, "flip": name == "cifar10"}
    space = ConvDense.small(train[0].shape[1:], 10, filters=(3, 4, 6, 8, 12, 16, 24, 32, 48), **own)

    def stop(**settings: Any) -> keras.callbacks.Callback:
        return keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=PATIENCE, **settings)

    def search(folder: str, limits: dict[str, float], earlier: SearchRecord | None) -> tuple[keras.Model, SearchRecord]:
        points = [{}] if earlier is None else [dict(earlier.best.values), {}]
        oracle = DynaOracle(objective="val_accuracy", max_trials=None, seed=seed, initial_points=points, warm_start=earlier)
        tuner = NASTuner(
            space, oracle, max_time=budget, stopping="learning-curve", limits=limits, directory=folder, project_name=str(limits)
        )
        settings = {"epochs": EPOCHS, "batch_size": BATCH, "callbacks": [stop()], "validation_data": valid, "verbose": 0}
        tuner.search(*train, **settings)
        return tuner.get_best_models()[0], tuner.record()

    def narrowed(values: dict[str, Any], factor: float) -> kt.HyperParameters:
        widths = {key: value for key, value in values.items() if key == "filters" or key.endswith("_units")}
        hp = kt.HyperParameters()
        hp.values = values | {key: max(1, round(factor * value)) for key, value in widths.items()}
        return hp

    with tempfile.TemporaryDirectory() as folder:
        free, first = search(folder, {}, None)
        allowed = measure_latency(free) / 2
        print(f"  unlimited winner: {2 * allowed:.3f} ms", file=sys.stderr, flush=True)
        limited, second = search(folder, {"latency_ms": allowed}, first)
    values = dict(first.best.values)
    low, high = 0.0, 1.0  # of the first winner's widths: within the limit, and beyond it
    for _ in range(6):
        middle = (low + high) / 2
        keeps = measure_latency(space.build(narrowed(values, middle))) <= allowed
        low, high = (middle, high) if keeps else (low, middle)
    keras.utils.set_random_seed(seed)
    hp = narrowed(values, low)
    narrow = space.build(hp)
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "callbacks": [stop(restore_best_weights=True)], "verbose": 0}
    space.fit(hp, narrow, *train, validation_data=valid, **settings)

    models = {"unlimited": free, "limited": limited, "narrowed": narrow}
    latencies: dict[str, list[float]] = {key: [] for key in models}
    for _ in range(ROUNDS):
        for key, model in models.items():
            latencies[key].append(measure_latency(model))
    accuracies = {
        key: float(np.mean(model.predict(test[0], batch_size=256, verbose=0).argmax(axis=1) == test[1]))
        for key, model in models.items()
    }
    return {
        "allowed_ms": allowed,
        "latency_ms": {key: min(rounds) for key, rounds in latencies.items()},
        "test": accuracies,
        "parameters": {key: model.count_params() for key, model in models.items()},
        "trials": {"unlimited": len(first.trials), "limited": len(second.trials)},
        "rejected": len(second.rejected),
        "factor": low,
    }


def main() -> None:
    options = arguments(__doc__, Path("latency_limit")).parse_args()
    if options.run:
        options.run.write_text(json.dumps(run(options.data, options.limit, options.budget, options.seeds)), "utf-8")
        return
    print("| seed | network | limit | latency | test accuracy | parameters |\n|---|---|---|---|---|---|")
    lost = []
    for seed in range(options.seeds):
        result = in_own_process(__file__, options, seed)
        for key, latency in result["latency_ms"].items():
            allowed = "" if key == "unlimited" else f"{result['allowed_ms']:.3f} ms"
            figures = f"{latency:.3f} ms | {result['test'][key]:.4f} | {result['parameters'][key]:,}"
            print(f"| {seed} | {key} | {allowed} | {figures} |", flush=True)
        test = result["test"]
        lost.append([test["unlimited"] - test["limited"], test["unlimited"] - test["narrowed"]])
    print("accuracy lost to the limit: {:.4f} by the search within it, {:.4f} by fewer channels".format(*np.mean(lost, axis=0)))


if __name__ == "__main__":
    main()

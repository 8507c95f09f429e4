import json
import math

import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.search.trial_curves import TrialCurves, objective_curve

ACCURACY = kt.Objective("val_accuracy", "max")


def test_higher_is_better_and_gaps_are_nan():
    curves = {"val_loss": [0.5, None, 0.25], "val_accuracy": [0.1, 0.2]}
    assert np.array_equal(
        objective_curve(kt.Objective("val_loss", "min"), curves, {}), [[-0.5], [np.nan], [-0.25]], equal_nan=True
    )
    assert np.array_equal(objective_curve(ACCURACY, curves, {}), [[0.1], [0.2], [np.nan]], equal_nan=True)
    assert objective_curve(ACCURACY, {}, {}).shape == (0, 1)


def test_several_objectives_and_costs():
    several = kt.oracles.RandomSearchOracle(objective=[ACCURACY, kt.Objective("latency_ms", "min")]).objective
    found = objective_curve(several, {"val_accuracy": [0.1, 0.2]}, {"latency_ms": 3.0})
    assert np.array_equal(found, [[0.1, -3.0], [0.2, -3.0]])


def write(folder, trial_id, content):
    path = folder / f"trial_{trial_id}" / "history.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_other_trials_in_the_order_of_their_numbers_and_only_whole_files(tmp_path):
    curves = TrialCurves(tmp_path, ACCURACY)
    for trial_id in ("010", "9", "2"):
        write(tmp_path, trial_id, {"executions": [{"val_accuracy": [int(trial_id) / 100]}]})
    write(tmp_path, "3", "{ half a fi")
    write(tmp_path, "4", {"executions": []})
    write(tmp_path, "5", {"executions": [{"val_accuracy": ["high"]}]})
    assert [float(c[0, 0]) for c in curves.others("9")] == [0.02, 0.10]
    write(tmp_path, "2", {"executions": [{"val_accuracy": [0.5, 0.75]}]})
    assert [c[-1, 0] for c in curves.others("none")] == pytest.approx([0.75, 0.09, 0.10])
    assert not any(math.isnan(c[-1, 0]) for c in curves.others(""))

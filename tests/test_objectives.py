"""Which way metrics are better; the MnasNet reward: its formula, and that KerasTuner can work with it."""

import contextlib
import inspect
import math

import keras
import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_tuner.src.engine.tuner_utils import convert_to_metrics_dict

from kerasnas.errors import InvalidArgument
from kerasnas.objectives import MnasNetReward, direction_of, largest_value, with_direction
from kerasnas.oracles import DynaOracle, RandomOracle

positive = st.floats(1e-3, 1e6)


@given(st.floats(0, 1), positive, positive)
def test_the_soft_reward_is_that_of_the_paper(accuracy, latency, target):
    reward = MnasNetReward(target=target)
    value = reward.get_value({"val_accuracy": accuracy, "latency_ms": latency})
    assert value == pytest.approx(accuracy * math.exp(-0.07 * (math.log(latency) - math.log(target))))


@given(st.floats(0.1, 1), positive, positive)
def test_the_hard_reward_counts_the_cost_above_the_target_only(accuracy, cost, target):
    reward = MnasNetReward("accuracy", cost="macs", target=target, alpha=0, beta=-1)
    value = reward.get_value({"accuracy": accuracy, "macs": cost})
    assert value == pytest.approx(accuracy if cost <= target else accuracy * target / cost)


def test_twice_the_cost_is_worth_five_percent():
    value = MnasNetReward(target=5.0).get_value
    assert value({"val_accuracy": 0.5, "latency_ms": 5.0}) == 0.5
    assert value({"val_accuracy": 0.525, "latency_ms": 10.0}) == pytest.approx(0.5, abs=1e-3)


def test_where_it_has_a_value():
    reward = MnasNetReward()
    logs = {"val_accuracy": np.float32(0.5), "latency_ms": 5.0}
    assert reward.has_value(logs)
    assert reward.has_value({"mnasnet_reward": 0.25})
    assert not reward.has_value({"val_accuracy": 0.5})
    assert not reward.has_value(None)
    assert type(reward.get_value(logs)) is float
    assert reward.get_value({"mnasnet_reward": 0.25}) == 0.25
    assert reward.get_value(logs | {"mnasnet_reward": 0.25}) == 0.5
    with pytest.raises(InvalidArgument, match=r"'val_accuracy' and 'latency_ms', got \['loss'\]"):
        reward.get_value({"loss": 1.0})


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_a_cost_that_is_none_has_no_reward(cost):
    assert math.isnan(MnasNetReward().get_value({"val_accuracy": 0.5, "latency_ms": cost}))


def test_no_trial_wins_by_an_overflow():
    assert math.isnan(MnasNetReward(alpha=-9).get_value({"val_accuracy": 0.5, "latency_ms": 1e-200}))
    assert math.isnan(MnasNetReward().get_value({"val_accuracy": math.nan, "latency_ms": 5.0}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "val_loss"}, "larger for better networks"),
        ({"metric": ""}, "`metric`"),
        ({"metric": 3}, "`metric`"),
        ({"cost": None}, "`cost`"),
        ({"metric": "macs", "cost": "macs"}, "two metrics"),
        ({"target": 0}, "`target`"),
        ({"target": math.nan}, "`target`"),
        ({"target": "5"}, "`target`"),
        ({"target": True}, "`target`"),
        ({"alpha": 0.07}, "`alpha`"),
        ({"beta": -math.inf}, "`beta`"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        MnasNetReward(**arguments)


def test_rewards_are_equal_if_their_arguments_are():
    assert MnasNetReward() == MnasNetReward(target=5)
    assert hash(MnasNetReward()) == hash(MnasNetReward(target=5))
    assert MnasNetReward() != MnasNetReward(target=6)
    assert MnasNetReward() != kt.Objective("mnasnet_reward", "max")
    assert "target=5.0" in str(MnasNetReward())


def test_keras_tuner_finds_the_best_epoch_by_it_and_an_oracle_is_reloaded(tmp_path):
    history = keras.callbacks.History()
    history.history = {"val_accuracy": [0.1, 0.3, 0.2], "latency_ms": [5.0, 5.0, 5.0]}
    reward = MnasNetReward()
    metrics = convert_to_metrics_dict(history, reward)
    assert metrics == {"val_accuracy": 0.3, "latency_ms": 5.0, "mnasnet_reward": 0.3}

    def oracle():
        made = RandomOracle(objective=reward, max_trials=3, seed=0)
        made.verbose = 0
        made._set_project_dir(str(tmp_path), "p")
        return made

    first = oracle()
    for latency in (5.0, 10.0):
        trial = first.create_trial("tuner0")
        hp = trial.hyperparameters
        hp.Int("a", 0, 9)
        first.update_trial(trial.trial_id, convert_to_metrics_dict({**metrics, "mnasnet_reward": 1 / latency}, reward))
        trial.status = "COMPLETED"
        first.end_trial(trial)
    second = oracle()
    second.reload()
    assert [trial.score for trial in second.get_best_trials(2)] == [0.2, 0.1]


@pytest.mark.parametrize(
    ("metric", "direction", "largest"),
    [
        ("val_accuracy", "max", 1.0),
        ("val_f1_score", "max", 1.0),
        ("r2_score", "max", 1.0),
        ("val_one_hot_io_u", "max", 1.0),
        ("val_weighted_auc", "max", 1.0),
        ("true_positives", "max", math.inf),
        ("val_loss", "min", math.inf),
        ("val_mean_absolute_error", "min", math.inf),
        ("val_root_mean_squared_error", "min", math.inf),
        ("false_negatives", "min", math.inf),
        ("val_F1Score", "max", 1.0),  # as Keras names metrics that are given so
        ("val_CosineSimilarity", "max", 1.0),
        ("OneHotMeanIoU", "max", 1.0),
        ("val_AUC", "max", 1.0),
        ("RootMeanSquaredError", "min", math.inf),
        ("FalsePositives", "min", math.inf),
        ("sum", None, math.inf),  # KerasTuner would minimise it
        ("val_my_metric", None, math.inf),
        ("latency_ms", None, math.inf),
    ],
)
def test_which_way_a_metric_is_better(metric, direction, largest):
    assert direction_of(metric) == direction
    assert largest_value(metric) == largest


def test_metrics_are_better_the_way_that_keras_says():
    checked = 0
    for kind in filter(inspect.isclass, vars(keras.metrics).values()):
        with contextlib.suppress(TypeError, NotImplementedError):  # some need arguments
            metric = kind()
            if (way := getattr(metric, "_direction", None)) is not None:
                assert direction_of(metric.name) == {"up": "max", "down": "min"}[way], metric.name
                checked += 1
    assert checked > 25


def test_names_of_objectives_get_their_direction():
    assert with_direction("val_f1_score") == kt.Objective("val_f1_score", "max")
    assert with_direction(["val_loss", kt.Objective("macs", "min")]) == [
        kt.Objective("val_loss", "min"),
        kt.Objective("macs", "min"),
    ]
    assert with_direction(None) is None
    with pytest.raises(InvalidArgument, match=r"whether larger is better, got 'val_x'. Pass keras_tuner.Objective\(\"val_x\""):
        with_direction("val_x")
    with pytest.raises(InvalidArgument, match=r"Did you mean 'val_accuracy'\? Else pass keras_tuner.Objective"):
        with_direction("val_acuracy")
    assert DynaOracle(objective="val_f1_score").objective.direction == "max"
    assert MnasNetReward("val_f1_score").metric == "val_f1_score"

"""Which way metrics are better, and objectives that weigh how well a network does against what it costs."""

import contextlib
import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine.metrics_tracking import infer_metric_direction

from kerasnas.errors import InvalidArgument

__all__ = ["MnasNetReward", "direction_of", "largest_value", "with_direction"]

# Metrics of Keras that are larger for better networks and at most 1.
_SHARES = {"acc", "accuracy", "auc", "precision", "recall", "f1_score", "fbeta_score", "f_beta_score"}
_SHARES |= {f"{kind}_accuracy" for kind in ("binary", "categorical", "sparse_categorical")}
_SHARES |= {"top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"}
_SHARES |= {"io_u", "mean_io_u", "binary_io_u", "one_hot_io_u", "one_hot_mean_io_u"}
_SHARES |= {"precision_at_recall", "recall_at_precision", "sensitivity_at_specificity", "specificity_at_sensitivity"}
_SHARES |= {"r2_score", "cosine_similarity", "pearson_correlation", "concordance_correlation"}
_LARGER = _SHARES | {"true_positives", "true_negatives"}
_SMALLER = {"loss", "crossentropy", "ce", "false_positives", "false_negatives", "root_mean_squared_error"}
_SMALLER |= {"logcosh", "log_cosh_error"}
_COMMON = ("val_accuracy", "val_loss", "accuracy", "loss", "val_auc", "val_precision", "val_recall", "val_f1_score", "val_mae")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def direction_of(metric: str) -> str | None:
    """Return "max" or "min", whichever way a metric is better; None where its name does not tell.

    Args:
        metric: as Keras names it in a training's logs: "val_accuracy", "f1_score", "val_loss".
    """
    name = _plain(metric)
    if name in _LARGER:
        return "max"
    if name in _SMALLER:
        return "min"
    # KerasTuner takes every metric that it does not know for one to minimise; with a loss that is so.
    with contextlib.suppress(ValueError, TypeError):
        if callable(keras.losses.get(name)):
            return "min"
    with contextlib.suppress(TypeError):
        return "max" if infer_metric_direction(name) == "max" else None
    return None


def largest_value(metric: str) -> float:
    """Return what no network can surpass in a metric of Keras: 1 or infinity."""
    return 1.0 if _plain(metric) in _SHARES else math.inf


def with_direction(objective: Any) -> Any:
    """Return an objective that says which way it is better: a name, or names in a list, as KerasTuner takes them.

    KerasTuner would minimise metrics that it does not know, such as F1.

    Raises:
        InvalidArgument: for a metric whose name does not tell.
    """
    if isinstance(objective, list):
        return [with_direction(part) for part in objective]
    if not isinstance(objective, str):
        return objective
    if (direction := direction_of(objective)) is None:
        near = difflib.get_close_matches(objective, _COMMON, n=1, cutoff=0.8)
        meant = f"Did you mean {near[0]!r}? Else pass" if near else "Pass"
        raise InvalidArgument(
            f"Expected an objective of which is known whether larger is better, got {objective!r}. {meant} "
            f'keras_tuner.Objective("{objective}", "max") if it is, or "min".'
        )
    return kt.Objective(objective, direction)


def _plain(metric: str) -> str:
    # Keras tells a metric that was given as "F1Score" by that name.
    return _WORDS.sub("_", metric.removeprefix("val_").removeprefix("weighted_")).lower()


class MnasNetReward(kt.Objective):  # type: ignore[misc]  # KerasTuner has no types
    """One number to maximise: a metric, discounted by how far the cost is from a target.

    `metric * (cost / target) ** w` with w = `alpha` where the cost is within the target and `beta` where it is above. With the
    default of -0.07 for both the target is soft: twice the cost is worth it for 5 % more of the metric. `alpha=0, beta=-1`
    makes it hard: below the target only the metric counts.

    The costs of a trial stand among its metrics: "parameters", "macs", "activation_bytes" and, if it is measured, "latency_ms".
    To search for the whole front of compromises instead of one of them, pass several objectives,
    `[kt.Objective("val_accuracy", "max"), kt.Objective("latency_ms", "min")]`: KerasTuner cannot know the direction of a cost.

    Args:
        metric: name of a metric that is >= 0 and larger for better networks.
        cost: name of the metric that is the cost, > 0.
        target: the cost to aim at, in the unit of the cost, > 0.
        alpha: exponent up to the target, <= 0.
        beta: exponent above the target, <= 0.
    Raises:
        InvalidArgument: for a metric that is to be minimised, or a number out of its range.
    Example:
        >>> reward = MnasNetReward("val_accuracy", cost="latency_ms", target=5.0, alpha=0, beta=-1)
        >>> reward.get_value({"val_accuracy": 0.9, "latency_ms": 10.0})
        0.45

    Source:
        Tan et al. 2019 (MnasNet), equations 2 and 3.
    """

    def __init__(
        self,
        metric: str = "val_accuracy",
        *,
        cost: str = "latency_ms",
        target: float = 5.0,
        alpha: float = -0.07,
        beta: float = -0.07,
    ) -> None:
        for argument, name in (("metric", metric), ("cost", cost)):
            if not isinstance(name, str) or not name:
                raise InvalidArgument(f"Expected `{argument}` to be the name of a metric, got {name!r}.")
        if metric == cost:
            raise InvalidArgument(f"Expected `metric` and `cost` to be two metrics, got {metric!r} for both.")
        if direction_of(metric) == "min":
            raise InvalidArgument(
                f"Expected a `metric` that is larger for better networks, such as 'val_accuracy', got {metric!r}."
            )
        if not _is_number(target) or target <= 0:
            raise InvalidArgument(f"Expected `target` to be a number > 0, in the unit of {cost!r}, got {target!r}.")
        for argument, exponent in (("alpha", alpha), ("beta", beta)):
            if not _is_number(exponent) or exponent > 0:
                raise InvalidArgument(f"Expected `{argument}` to be a number <= 0, got {exponent!r}.")
        super().__init__("mnasnet_reward", "max")
        self.metric, self.cost = metric, cost
        self.target, self.alpha, self.beta = float(target), float(alpha), float(beta)

    def has_value(self, logs: Mapping[str, Any] | None) -> bool:
        """Tell whether `logs` hold the metric and the cost, or the reward itself."""
        logs = logs or {}
        return (self.metric in logs and self.cost in logs) or self.name in logs

    def get_value(self, logs: Mapping[str, Any]) -> float:
        """Return the reward; NaN where the metric is not a number or the cost is not positive.

        Args:
            logs: metrics by name, as Keras gives them to callbacks, with the cost; or with the reward itself.
        Raises:
            InvalidArgument: if they hold neither.
        """
        if not self.has_value(logs):
            raise InvalidArgument(
                f"The reward needs the metrics {self.metric!r} and {self.cost!r}, got {sorted(logs)}. "
                "kerasnas.search.NASTuner adds the costs; a fit of your own returns them, or 'mnasnet_reward' itself."
            )
        if self.metric not in logs or self.cost not in logs:
            return float(logs[self.name])
        metric, cost = float(logs[self.metric]), float(logs[self.cost])
        if not 0 < cost < math.inf:
            return math.nan
        try:
            return metric * (cost / self.target) ** (self.alpha if cost <= self.target else self.beta)  # equations 2 and 3
        except OverflowError:  # Python's power raises where NumPy's is infinite; no trial may win by that
            return math.nan

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {name: getattr(self, name) for name in ("metric", "cost", "target", "alpha", "beta")}

    def __eq__(self, other: object) -> bool:
        """Rewards are equal if their arguments are."""
        return isinstance(other, MnasNetReward) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        """Hash the arguments."""
        return hash(tuple(self.get_config().values()))

    def __str__(self) -> str:
        """Name the arguments: KerasTuner prints this above its results."""
        return f"MnasNetReward({', '.join(f'{name}={value!r}' for name, value in self.get_config().items())})"

    __repr__ = __str__


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

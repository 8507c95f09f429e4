"""The oracles by the names that `ImageClassifier` and the command line know them by."""

import copy
from typing import Any

import keras_tuner as kt

from kerasnas.errors import InvalidArgument
from kerasnas.oracles.dyna import DynaOracle
from kerasnas.oracles.evolution import EvolutionOracle
from kerasnas.oracles.local_search import LocalSearchOracle
from kerasnas.oracles.ppo import PPOOracle
from kerasnas.oracles.q_learning import QLearningOracle
from kerasnas.oracles.random_search import RandomOracle
from kerasnas.oracles.reinforce import ReinforceOracle

__all__ = ["BY_NAME", "check_oracle", "oracle_by_name"]

BY_NAME: dict[str, type[kt.Oracle]] = {
    "auto": DynaOracle,
    "dyna": DynaOracle,
    "evolution": EvolutionOracle,
    "local-search": LocalSearchOracle,
    "ppo": PPOOracle,
    "q-learning": QLearningOracle,
    "random": RandomOracle,
    "reinforce": ReinforceOracle,
}


def oracle_by_name(oracle: Any, *, objective: Any, max_trials: int | None, seed: int | None) -> kt.Oracle:
    """Return an oracle, which tries the defaults of the space first.

    Args:
        oracle: a name, or a `kt.Oracle`, of which a copy is returned: the trials of one search are not those of the next.
        objective: as in `kt.Oracle`; with `max_trials` and `seed` for an oracle by name.
        max_trials: as in `kt.Oracle`.
        seed: as in `kt.Oracle`.
    Raises:
        InvalidArgument: if `oracle` or `objective` is none, or for an oracle that cannot be used, see `check_oracle`.
    """
    if isinstance(oracle, kt.Oracle):
        check_oracle(oracle)
        return copy.deepcopy(oracle)
    if not isinstance(oracle, str) or oracle not in BY_NAME:
        raise InvalidArgument(f"Expected `oracle` to be one of {sorted(BY_NAME)} or a kt.Oracle, got {oracle!r}.")
    limit = None if max_trials is None else int(max_trials)
    try:
        return BY_NAME[oracle](objective=objective, max_trials=limit, seed=seed, initial_points=[{}])
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"Expected `objective` to be a metric or a kt.Objective, got {objective!r}: {error}") from error


def check_oracle(oracle: Any) -> None:
    """Raise InvalidArgument for what is no `kt.Oracle`, or one that wants to train its trials itself."""
    if not isinstance(oracle, kt.Oracle):
        raise InvalidArgument(f"Expected `oracle` to be a kt.Oracle such as kerasnas.oracles.DynaOracle(), got {oracle!r}.")
    # Its trials are parts of a training: only `kt.Hyperband` starts them from the weights and the epoch that it writes down.
    if isinstance(oracle, kt.oracles.HyperbandOracle):
        raise InvalidArgument(
            f"Expected an oracle that leaves the epochs of a trial to the tuner, got {type(oracle).__name__}, whose schedule "
            "would not be kept. Pass stopping='asha' (asynchronous successive halving, which does the same job with curves and "
            "checkpoints) with another oracle, such as kerasnas.oracles.DynaOracle, or run kt.Hyperband itself."
        )

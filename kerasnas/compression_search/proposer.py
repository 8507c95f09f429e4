"""What is tried next: first the share that just keeps the bounds, by halving, then what a strategy proposes."""

import numpy as np

from kerasnas.compression_search.recipe import RATIOS, Recipe
from kerasnas.strategies import Choices, Strategy

__all__ = ["Proposer"]

_HALVINGS = 4  # of eleven shares


class Proposer:
    """Asks a strategy, and tells it of all trials; what it proposes follows from them and the seed, so that a search resumes.

    Args:
        recipe: whose decisions are to be made.
        strategy: what proposes after the first trials.
        seed: of all its randomness.
    """

    def __init__(self, recipe: Recipe, strategy: Strategy, seed: int) -> None:
        self._recipe, self._strategy, self._seed = recipe, strategy, seed
        self._tried: list[Choices] = []
        self._low, self._high, self._halvings = 0, len(RATIOS) - 1, 0
        strategy.start(recipe.decisions)
        strategy.learn_points([recipe.first(RATIOS[len(RATIOS) // 2])])

    def propose(self) -> tuple[Choices, str] | None:
        """Return choices that were not tried, and what made them; None if there are no more."""
        if self._halvings < _HALVINGS and self._low <= self._high:
            return self._recipe.first(RATIOS[(self._low + self._high) // 2]), "halving"
        for attempt in range(20):
            rng = np.random.default_rng([self._seed, len(self._tried), attempt])
            proposal = self._strategy.propose(rng)
            if dict(proposal) not in self._tried:
                return dict(proposal), str(getattr(proposal, "why", {}).get("phase", type(self._strategy).__name__))
        return None

    def observe(self, choices: Choices, phase: str, merit: float, *, wants_less: bool) -> None:
        """Take in what a trial was worth, NaN if it failed, and whether a smaller network is to be tried next."""
        self._tried.append(dict(choices))
        if phase == "halving":
            middle = RATIOS.index(choices["ratio"])  # type: ignore[arg-type]
            self._halvings += 1
            if wants_less:
                self._low = middle + 1
            else:
                self._high = middle - 1
        self._strategy.observe(choices, merit)

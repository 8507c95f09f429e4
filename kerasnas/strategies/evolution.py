"""Evolution: a genetic search, regularized by age."""

import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from kerasnas.strategies.base import Proposal, Strategy
from kerasnas.strategies.decision import Choices, Decision, active_decisions
from kerasnas.strategies.space import identity, random_choices
from kerasnas.strategies.variation import Genes, express, genes_of, other_value

__all__ = ["Evolution"]

# How many more mutations a child gets that equals a configuration that is known or pending.
_NOVELTY_TRIES = 20


class _Individual(NamedTuple):
    choices: Choices
    genes: Genes
    score: float


class Evolution(Strategy):
    """Cross and mutate the best of a population that is renewed with every trial.

    The first configurations are drawn at random until they fill the population. From then on a child has one or two selected
    parents; a decision that none of them made is drawn. A failed trial never enters the population.

    Args:
        population: number of individuals alive, >= 2. None lets it grow with the n successful trials as ceil(3 sqrt(n)), from 9
            at first to 30 after 100 trials: the size and the number of generations, n / size, then grow alike, so that
            neither diversity nor time to converge runs short, whatever the number of trials will be.
        selection: "tournament" draws contestants, of whom the best becomes a parent; "truncation" draws a parent from the best.
        selection_share: part of the population that are contestants, or the best, in (0, 1].
        crossover: "uniform" takes each decision from either parent alike; "one-point" takes the decisions before a random
            point from the one and the rest from the other; None leaves every child with one parent.
        crossover_rate: chance that a child has two parents, in [0, 1].
        mutation_rate: chance of each active decision to be given another value, in [0, 1]; None: one over their number. What
            is known or pending already is mutated further.
        aging: the oldest dies when another one is born; otherwise the worst does (of equals the older).
    Source:
        Real et al. 2019, Algorithm 1, with None for crossover and population=100, selection_share=0.25. Deviations: the
        contestants are drawn without replacement; any number of decisions may mutate, and ordered ones to values nearby; no
        configuration is meant to come twice; failed trials do not count. Crossover: Goldberg 1989; Syswerda 1989.
    """

    def __init__(
        self,
        *,
        population: int | None = None,
        selection: Literal["tournament", "truncation"] = "tournament",
        selection_share: float = 0.3,
        crossover: Literal["uniform", "one-point"] | None = "uniform",
        crossover_rate: float = 0.5,
        mutation_rate: float | None = None,
        aging: bool = True,
    ) -> None:
        if population is not None and (not isinstance(population, int) or population < 2):
            raise ValueError(f"population must be an integer >= 2 or None, got {population}.")
        if selection not in ("tournament", "truncation"):
            raise ValueError(f"selection must be 'tournament' or 'truncation', got {selection!r}.")
        if not 0 < selection_share <= 1:
            raise ValueError(f"selection_share must be in (0, 1], got {selection_share}.")
        if crossover not in ("uniform", "one-point", None):
            raise ValueError(f"crossover must be 'uniform', 'one-point' or None, got {crossover!r}.")
        if not 0 <= crossover_rate <= 1:
            raise ValueError(f"crossover_rate must be in [0, 1], got {crossover_rate}.")
        if mutation_rate is not None and not 0 <= mutation_rate <= 1:
            raise ValueError(f"mutation_rate must be in [0, 1] or None, got {mutation_rate}.")
        self.population = population
        self.selection = selection
        self.selection_share = selection_share
        self.crossover = crossover
        self.crossover_rate = crossover_rate
        self.mutation_rate = mutation_rate
        self.aging = aging

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin with an empty population."""
        self._decisions = tuple(decisions)
        self._born = 0
        self._alive: list[_Individual] = []
        self._known: set[Hashable] = set()

    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Choices:
        """Return a child of the population; anything while there are too few individuals."""
        if self._born < self._size():
            return Proposal(random_choices(self._decisions, rng), phase="initial")
        avoided = self._known | {identity(self._decisions, choices) for choices in pending}
        why: dict[str, Any] = {"phase": "mutation"}
        parent, runner_up = self._select(self._alive, rng)
        others = [one for one in self._alive if one.genes != parent.genes]
        inherited = parent.genes
        if self.crossover and others and rng.random() < self.crossover_rate:
            partner, _ = self._select(others, rng)
            inherited = self._cross(parent.genes, partner.genes, rng)
            why = {"phase": "crossover", "parents": [dict(parent.choices), dict(partner.choices)]}
        else:
            why["parent"] = dict(parent.choices)
        if runner_up is not None:
            why["runner_up"] = dict(runner_up.choices)
        child = self._mutate(express(self._decisions, inherited, rng), rng)
        for _ in range(_NOVELTY_TRIES):
            if identity(self._decisions, child) not in avoided:
                break
            child = self._mutate(child, rng, at_least_one=True)
        made = active_decisions(self._decisions, child)
        changes = {d.name: [inherited.get(id(d)), child[d.name]] for d in made if inherited.get(id(d)) != child[d.name]}
        return Proposal(child, **why, mutation=changes)

    def observe(self, choices: Choices, score: float) -> None:
        """Let `choices` be born, and another one die if the population is full."""
        self._known.add(identity(self._decisions, choices))
        if not math.isfinite(score):
            return
        genes = genes_of(self._decisions, choices)
        named = {d.name: genes[id(d)] for d in self._decisions if id(d) in genes}
        self._born += 1
        self._alive.append(_Individual(named, genes, float(score)))
        if len(self._alive) > self._size():
            # min() takes the first of equals, and the list is in the order of birth.
            dying = 0 if self.aging else min(range(len(self._alive)), key=lambda i: self._alive[i].score)
            del self._alive[dying]

    def _size(self) -> int:
        return self.population or math.ceil(3 * math.sqrt(max(self._born, 1)))

    def _select(self, candidates: Sequence[_Individual], rng: np.random.Generator) -> tuple[_Individual, _Individual | None]:
        """Return a parent, and who came second in its tournament."""
        count = math.ceil(self.selection_share * len(candidates))
        # In random order first: among equals, sorting keeps it.
        shuffled = [candidates[i] for i in rng.permutation(len(candidates))]
        if self.selection == "truncation":
            best = sorted(shuffled, key=lambda one: -one.score)[:count]
            return best[int(rng.integers(count))], None
        contestants = sorted(shuffled[:count], key=lambda one: -one.score)
        return contestants[0], contestants[1] if count > 1 else None

    def _cross(self, one: Genes, other: Genes, rng: np.random.Generator) -> Genes:
        """Return, of every decision that a parent made, the value of one of them; of the other where it made none."""
        made = [id(d) for d in self._decisions if id(d) in one or id(d) in other]
        if self.crossover == "one-point":
            first = np.arange(len(made)) < (rng.integers(1, len(made)) if len(made) > 1 else 1)
        else:
            first = rng.random(len(made)) < 0.5
        sources = {**one, **other}, {**other, **one}
        return {key: sources[int(from_one)][key] for key, from_one in zip(made, first, strict=True)}

    def _mutate(self, choices: Choices, rng: np.random.Generator, *, at_least_one: bool = False) -> Choices:
        genes = genes_of(self._decisions, choices)
        movable = [d for d in active_decisions(self._decisions, choices) if id(d) in genes and d.size != 1]
        if not movable:
            return choices
        rate = 1 / len(movable) if self.mutation_rate is None else self.mutation_rate
        moves = rng.random(len(movable)) < rate
        if at_least_one and not moves.any():
            moves[rng.integers(len(movable))] = True
        for decision, moved in zip(movable, moves, strict=True):
            if moved:
                genes[id(decision)] = other_value(decision, genes[id(decision)], rng)
        return express(self._decisions, genes, rng)

"""One sound strategy, and many that each break one promise."""

import random

import numpy as np

from kerasnas.strategies import Proposal, RandomSearch
from kerasnas.strategies.space import identity, random_choices, walk


class Sound(RandomSearch):
    """Keeps all promises with everything that the others break: a state, reasons, beliefs, advantages, earlier trials."""

    def start(self, decisions):
        super().start(decisions)
        self.seen, self.earlier = [], []

    def propose(self, rng, pending=()):
        choices = random_choices(self._decisions, self.generator(rng))
        return Proposal(choices, phase="random", probabilities=dict.fromkeys(choices, 1.0))

    def generator(self, rng):
        """Return a generator that depends on all that was seen."""
        state = repr([self.seen, self.earlier]).encode()
        return np.random.default_rng([int(rng.integers(2**32)), *state[-200:], len(state)])

    def observe(self, choices, score):
        self.seen = [*self.seen, (identity(self._decisions, choices), float(score))]

    def learn_earlier(self, observations):
        self.earlier = [(dict(choices), float(score)) for choices, score in observations]

    def advantage(self, choices, score):
        return float(np.sign(np.nan_to_num(score)))

    def beliefs(self):
        return {d.name: {"any": 0.25, "other": 0.75} for d in self._decisions}


class InactiveToo(Sound):
    def propose(self, rng, pending=()):
        return {d.name: d.from_unit(rng.random()) for d in self._decisions}


class LacksOne(Sound):
    def propose(self, rng, pending=()):
        choices = super().propose(rng)
        choices.pop("lr", None)
        return choices


class OutOfRange(Sound):
    def propose(self, rng, pending=()):
        choices = super().propose(rng)
        return {k: v * 2.0 if k == "real" else v for k, v in choices.items()}


class OffTheList(Sound):
    def propose(self, rng, pending=()):
        choices = super().propose(rng)
        return {k: v + 1 if k == "steps" else v for k, v in choices.items()}


class FloatForInteger(Sound):
    def propose(self, rng, pending=()):
        choices = super().propose(rng)
        return {k: float(v) if k == "units" else v for k, v in choices.items()}


class BooleanAsInteger(Sound):
    def propose(self, rng, pending=()):
        choices = super().propose(rng)
        return {k: int(v) if isinstance(v, bool) else v for k, v in choices.items()}


class NumpyScalars(Sound):
    def propose(self, rng, pending=()):
        choices = super().propose(rng)
        return {k: np.float64(v) if isinstance(v, float) else v for k, v in choices.items()}


class FirstOfTheName(Sound):
    def propose(self, rng, pending=()):
        first = {d.name: d for d in reversed(self._decisions)}
        return {k: first[k].from_unit(0.99) if k == "units" else v for k, v in super().propose(rng).items()}


class NotADictionary(Sound):
    def propose(self, rng, pending=()):
        return list(super().propose(rng).items())


class CannotDecideNothing(Sound):
    def propose(self, rng, pending=()):
        return super().propose(rng) if rng.integers(len(self._decisions)) >= 0 else {}


class NoPending(Sound):
    def propose(self, rng):
        return super().propose(rng)


class CountsProposals(Sound):
    asked = 0

    def propose(self, rng, pending=()):
        self.asked += 1
        return super().propose(np.random.default_rng(self.asked))


class RemembersPending(Sound):
    def propose(self, rng, pending=()):
        self.earlier = [*self.earlier, *pending]
        return super().propose(rng)


class OwnProposalsCountMore(Sound):
    """What it proposed last is state that a replay of the observations does not bring back."""

    last = None

    def propose(self, rng, pending=()):
        self.last = super().propose(rng)
        return self.last

    def observe(self, choices, score):
        super().observe(choices, 2 * score if choices == self.last else score)


class OwnGenerator(Sound):
    def start(self, decisions):
        super().start(decisions)
        self.own = np.random.default_rng()

    def propose(self, rng, pending=()):
        return super().propose(self.own)


class LearnsAtRandom(Sound):
    def observe(self, choices, score):
        super().observe(choices, score + np.random.default_rng().random())


class GlobalNumpy(Sound):
    def propose(self, rng, pending=()):
        return super().propose(np.random.default_rng(np.random.randint(1000)))  # noqa: NPY002


class GlobalRandom(Sound):
    def observe(self, choices, score):
        super().observe(choices, score + random.random())


class SeedsTheGlobalGenerator(Sound):
    def propose(self, rng, pending=()):
        np.random.seed(0)  # noqa: NPY002
        return super().propose(rng)


class ReadsTheGlobalGenerator(Sound):
    """Leaves the global state as it was, and yet depends on it."""

    def start(self, decisions):
        super().start(decisions)
        self.earlier = [({}, float(np.random.get_state()[1][5]))]  # noqa: NPY002


class StartForgetsNothing(Sound):
    def start(self, decisions):
        seen = getattr(self, "seen", [])
        super().start(decisions)
        self.seen = seen


class StartKeepsTheEarlierSearch(Sound):
    def start(self, decisions):
        earlier = getattr(self, "earlier", [])
        super().start(decisions)
        self.earlier = earlier


class StartKeepsTheSpace(Sound):
    def start(self, decisions):
        if not hasattr(self, "_decisions"):
            super().start(decisions)


class SharedState(Sound):
    everything = []  # noqa: RUF012 - the mistake

    def observe(self, choices, score):
        self.everything.append((dict(choices), score))

    def generator(self, rng):
        return np.random.default_rng([int(rng.integers(2**32)), len(self.everything)])


class KeepsTheCallersDictionary(Sound):
    def observe(self, choices, score):
        self.seen.append((choices, float(score)))


class KeepsTheCallersList(Sound):
    def start(self, decisions):
        super().start(decisions)
        self._decisions = decisions


class ChangesWhatItGets(Sound):
    def observe(self, choices, score):
        super().observe(choices, score)
        choices["score"] = score


class ChangesPending(Sound):
    def propose(self, rng, pending=()):
        for choices in pending:
            choices.clear()
        return super().propose(rng)


class GivesItsStateAway(Sound):
    best = None

    def start(self, decisions):
        super().start(decisions)
        self.best = None

    def observe(self, choices, score):
        whole = walk(self._decisions, lambda d, _: choices.get(d.name, d.from_unit(0)))
        self.best = whole if whole == choices else self.best

    def propose(self, rng, pending=()):
        return self.best or super().propose(rng)


class CannotFail(Sound):
    def observe(self, choices, score):
        super().observe(choices, int(score))


class CannotBeConstant(Sound):
    def propose(self, rng, pending=()):
        scores = [s for _, s in self.seen if np.isfinite(s)]
        if len(scores) > 12:
            assert np.std(scores) > 0
        return super().propose(rng)


class NeedsEveryDecision(Sound):
    def observe(self, choices, score):
        super().observe({d.name: choices[d.name] for d in self._decisions if d.is_active(choices)}, score)


class NeedsKnownNames(Sound):
    def observe(self, choices, score):
        known = {d.name: d for d in self._decisions}
        super().observe({name: value for name, value in choices.items() if known[name]}, score)


class PendingMustBeWhole(Sound):
    def propose(self, rng, pending=()):
        for choices in pending:
            choices[self._decisions[0].name] if self._decisions else None
        return super().propose(rng)


class BeliefsAboutLess(Sound):
    def beliefs(self):
        return {d.name: {"any": 1.0} for d in self._decisions[1:]}


class BeliefsNotNormalised(Sound):
    def beliefs(self):
        return {d.name: {"any": 0.5, "other": 0.6} for d in self._decisions}


class BeliefsNan(Sound):
    def beliefs(self):
        return {d.name: {"any": np.nan} for d in self._decisions}


class BeliefsChangeTheState(Sound):
    def beliefs(self):
        self.earlier.append("asked")
        return super().beliefs()


class InfiniteAdvantage(Sound):
    def advantage(self, choices, score):
        return score * 1e10


class NanAdvantage(Sound):
    def advantage(self, choices, score):
        return score if np.isnan(score) else 0.0


class AdvantageChangesTheState(Sound):
    def advantage(self, choices, score):
        self.seen = [*self.seen, "asked"]
        return 0.0


class WhyNotJson(Sound):
    def propose(self, rng, pending=()):
        return Proposal(super().propose(rng), phase="random", row=np.zeros(2))


class WhyNan(Sound):
    def propose(self, rng, pending=()):
        return Proposal(super().propose(rng), phase="random", entropy=float("nan"))


class ImpossibleProbability(Sound):
    def propose(self, rng, pending=()):
        choices = super().propose(rng)
        return Proposal(choices, phase="random", probabilities=dict.fromkeys(choices, 0.0))


class ProbabilitiesOfOthers(Sound):
    def propose(self, rng, pending=()):
        return Proposal(super().propose(rng), phase="random", probabilities={"another": 0.5})


class ReasonsAtRandom(Sound):
    def propose(self, rng, pending=()):
        return Proposal(super().propose(rng), phase="random", entropy=np.random.default_rng().random())


class EarlierMustHaveSucceeded(Sound):
    def learn_earlier(self, observations):
        super().learn_earlier([(choices, int(score)) for choices, score in observations])


class PointsMustBeTwo(Sound):
    def learn_points(self, points):
        super().learn_points([points[0], points[1]])


class EarlierMustNotBeEmpty(Sound):
    def learn_earlier(self, observations):
        super().learn_earlier([max(observations, key=lambda o: o[1])])


class EarlierAtRandom(Sound):
    def learn_earlier(self, observations):
        super().learn_earlier([(c, np.random.default_rng().random()) for c, _ in observations])


class GivesUpWhenAllIsKnown(Sound):
    def propose(self, rng, pending=()):
        known = {key for key, _ in self.seen}
        for _ in range(1000):
            choices = random_choices(self._decisions, rng)
            if identity(self._decisions, choices) not in known or len(self._decisions) < 2:
                return choices
        raise StopIteration

import pytest
from hypothesis import strategies as st

from kerasnas.strategies import Condition, Discrete, Range


@st.composite
def _spaces(draw):
    """Up to eight decisions, each of them lists or numbers, conditional on earlier lists or not."""
    decisions = []
    for i in range(draw(st.integers(0, 8))):
        parents = draw(st.lists(st.sampled_from(lists), max_size=2, unique=True)) if (lists := _lists(decisions)) else []
        conditions = tuple(
            Condition(p.name, tuple(draw(st.lists(st.sampled_from(p.values), min_size=1, unique=True)))) for p in parents
        )
        name = f"d{i}"
        kind = draw(st.sampled_from(["categories", "steps", "real", "integer", "log"]))
        if kind in ("categories", "steps"):
            values = tuple(range(draw(st.integers(1, 4))))
            decisions.append(Discrete(name=name, values=values, ordered=kind == "steps", conditions=conditions))
        elif kind == "log":
            integer = draw(st.booleans())
            decisions.append(Range(name=name, low=1, high=900, scale="log", integer=integer, conditions=conditions))
        else:
            low, width = draw(st.integers(-5, 5)), draw(st.integers(0, 30))
            decisions.append(Range(name=name, low=low, high=low + width, integer=kind == "integer", conditions=conditions))
    return decisions


def _lists(decisions):
    return [d for d in decisions if isinstance(d, Discrete)]


@pytest.fixture(scope="session")
def spaces():
    """A hypothesis strategy for spaces, to be drawn from inside of a test."""
    return _spaces()

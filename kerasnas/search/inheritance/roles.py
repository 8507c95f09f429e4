"""Which layer of a donor plays the role of each layer of a model."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from kerasnas.search.inheritance.graph import Call, Graph

__all__ = ["match"]

Role = tuple[str, ...]


def match(model: Graph, donor: Graph) -> dict[str, Call]:
    """Return the first call of the donor's layer for each layer of the model that has one, by path.

    A role is a name together with a class. Where Keras made the name up ("conv2d_17"), or a role occurs twice, the layers are
    aligned in the order of their calls: the alignment with most pairs of equal class, and among these the one with most
    pairs of equal kernel size, then of equal shapes of weights (dynamic programming, Needleman & Wunsch 1970, gaps are free).
    """
    ours, theirs = model.layers(), donor.layers()
    our_roles, their_roles = ({path: _role(path, call) for path, call in calls.items()} for calls in (ours, theirs))
    unique = [{role for role, n in Counter(roles.values()).items() if n == 1} for roles in (our_roles, their_roles)]
    named = {role for role in unique[0] & unique[1] if not _is_auto(role[-1])}
    by_role = {role: theirs[path] for path, role in their_roles.items() if role in named}
    pairs = {path: by_role[role] for path, role in our_roles.items() if role in named}
    often = {role for roles in (our_roles, their_roles) for role, n in Counter(roles.values()).items() if n > 1}
    rest = [
        [(role, calls[path]) for path, role in roles.items() if role not in named and (_is_auto(role[-1]) or role in often)]
        for calls, roles in ((ours, our_roles), (theirs, their_roles))
    ]
    pairs.update({call.path: partner for call, partner in _align(*rest)})
    return pairs


def _is_auto(name: str) -> bool:
    return name.startswith("<")


def _role(path: str, call: Call) -> Role:
    """Return class and path, each name that Keras counted up replaced by "<its base>"."""
    *parents, own = path.split("/")
    kind = type(call.operation).__name__
    return (kind, *(_plain(name, ("functional", "sequential", "model")) for name in parents), _plain(own, (_snake_case(kind),)))


def _snake_case(kind: str) -> str:
    """Return the base of the names that Keras makes up for a class."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


def _plain(name: str, bases: Sequence[str]) -> str:
    return next((f"<{base}>" for base in bases if re.fullmatch(rf"{base}(_\d+)?", name)), name)


def _align(ours: Sequence[tuple[Role, Call]], theirs: Sequence[tuple[Role, Call]]) -> list[tuple[Call, Call]]:
    if not ours or not theirs:
        return []
    # Names that begin to count at the same number mean something: those of two builds in one process do not.
    firsts = [{role: call.path for role, call in reversed(layers)} for layers in (ours, theirs)]
    same_start = {role for role, path in firsts[0].items() if firsts[1].get(role) == path}
    gain = np.zeros((len(ours), len(theirs)))
    best = np.zeros((len(ours) + 1, len(theirs) + 1))
    for i, j in np.ndindex(*gain.shape):
        if ours[i][0] == theirs[j][0]:
            gain[i, j] = _likeness(ours[i][1], theirs[j][1], names_count=ours[i][0] in same_start)
        best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], best[i, j] + gain[i, j])
    pairs, i, j = [], len(ours), len(theirs)
    while i and j:
        if gain[i - 1, j - 1] and best[i, j] == best[i - 1, j - 1] + gain[i - 1, j - 1]:
            i, j = i - 1, j - 1
            pairs.append((ours[i][1], theirs[j][1]))
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _likeness(ours: Call, theirs: Call, *, names_count: bool) -> float:
    """Return 1 for a pair and a little more for a better one, in powers of two: their sums are exact."""
    a, b = ours.operation, theirs.operation
    name = names_count and ours.path == theirs.path
    kernel = getattr(a, "kernel_size", None) == getattr(b, "kernel_size", None)
    shapes = [tuple(w.shape) for w in a.weights] == [tuple(w.shape) for w in b.weights]
    return 1.0 + name * 2.0**-11 + kernel * 2.0**-12 + shapes * 2.0**-13

from types import SimpleNamespace

import pytest

from kerasnas.search.final_epochs import final_epochs


@pytest.mark.parametrize(
    ("direction", "curves", "expected"),
    [
        ("max", [[0.1, 0.9, 0.5]], 2),  # stopped early: up to its best
        ("max", [[0.5, 0.5, 0.5, 0.5]], 4),  # a plateau: to its end
        ("max", [[0.1, 0.9, 0.5, 0.4, 0.3]], 5),  # ran through
        ("min", [[0.9, 0.1, 0.5]], 2),
        ("min", [[0.9, 0.1, float("nan")]], 2),
        ("max", [[0.1, 0.9, 0.5], [0.1, 0.2, 0.3]], 3),  # two executions: the longer
        ("max", [], 5),
        ("max", [[float("nan")]], 5),
    ],
)
def test_the_curve_of_the_winner_decides(direction, curves, expected):
    trial = SimpleNamespace(curves=[{"val_score": tuple(values)} for values in curves])
    record = SimpleNamespace(direction=direction, objective="val_score", best=trial)
    assert final_epochs(record, 5) == expected

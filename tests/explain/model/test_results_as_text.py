"""What is printed of a result: a line in a list, a table by itself, and no arrays."""

import numpy as np
import pytest

from kerasnas.explain import (
    Attribution,
    confusion,
    decision_boundary,
    layer_importance,
    permutation_importance,
    weight_statistics,
)
from kerasnas.explain.model.interpretability import Interpretability

MAKERS = {
    "LayerImportance": lambda model, x, y: layer_importance(model, x, y, repeats=1),
    "PermutationImportance": lambda model, x, y: permutation_importance(model, x, y, repeats=1),
    "Confusion": confusion,
    "DecisionBoundary": decision_boundary,
    "WeightStatistics": lambda model, x, y: weight_statistics(model, x),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_result_is_a_line_and_a_table(name, cnn, rng):
    x, y = rng.random((12, 8, 8, 1)).astype("float32"), np.arange(12) % 3
    found = MAKERS[name](cnn((8, 8, 1), 3), x, y)
    line, whole = repr(found), str(found)
    assert line.startswith(f"{name}(")
    assert "12 samples" in line
    assert len(line) < 130
    assert "array" not in whole
    assert whole.startswith(line)
    if name != "DecisionBoundary":  # of a picture there is no table
        assert len(whole.splitlines()) > 3


def test_the_table_of_mistakes_counts_them(cnn, rng):
    found = confusion(cnn((8, 8, 1), 3), rng.random((12, 8, 8, 1)), np.arange(12) % 3, labels=("cat", "dog", "cow"))
    rows = [row.split() for row in str(found).splitlines()[-3:]]
    assert [row[0] for row in rows] == ["cat", "dog", "cow"]
    assert [[int(count) for count in row[1:]] for row in rows] == found.matrix.tolist()


def test_the_table_of_layers_holds_their_changes(cnn, rng):
    found = layer_importance(cnn((8, 8, 1), 3), rng.random((12, 8, 8, 1)), np.arange(12) % 3, repeats=1)
    text = str(found)
    for row in found.rows:
        assert f"{row.loss_change:.4g}" in text
        assert row.layer in text


def test_maps_and_measures_are_printed_short():
    maps = Attribution(np.zeros((12, 4, 4)), np.zeros((12, 4, 4, 1)), np.arange(12), "rise", {"masks": 5, "grid": (3, 3)})
    assert str(maps) == (
        "rise: 12 maps of 4 x 4 pixels for the classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more, values from 0 to 0; "
        "12 of them mark nothing (masks 5)"
    )
    printed = str(Interpretability({"depth_layers": 3.0, "kernel_kurtosis_mean": float("nan"), "macs_count": 1234567.0}))
    assert [line.split() for line in printed.splitlines()] == [
        ["depth_layers", "3"], ["kernel_kurtosis_mean", "nan"], ["macs_count", "1,234,567"],
    ]  # fmt: skip

import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.class_labels import class_labels


def test_labels_in_a_row_or_a_column():
    for y in ([0, 2, 1], [[0], [2], [1]]):
        np.testing.assert_array_equal(class_labels(y, 3, 3), [0, 2, 1])


@pytest.mark.parametrize(
    ("y", "advice"),
    [
        (np.eye(3), r"y\.argmax\(axis=-1\) if it is one-hot"),
        (np.array([0.0, 1, 2]), r"y\.astype\(int\)"),
        (np.array(["a", "b", "c"]), "the number of each class among the outputs of the model, from 0 to 2"),
        (np.array([0, 1]), "the labels of these samples"),
        (np.zeros((3, 2), int), "one column of class numbers from 0 to 2"),
        (np.array([0, 1, 3]), "the labels that the model was trained with"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do_about_it(y, advice):
    with pytest.raises(InvalidArgument, match=advice) as caught:
        class_labels(y, 3, 3)
    assert ("argmax" in str(caught.value)) == (y.shape == (3, 3))

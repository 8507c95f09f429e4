"""What the chart of changes shows, read from its artists."""

import numpy as np
import pytest

from kerasnas.explain.model.change_chart import Change, change_chart, change_map


def labels_of(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_each_part_has_its_change_and_interval():
    series = {"mean": [Change(1.0, 0.5, 1.5), Change(0.1, -0.2, 0.4)], "permutation": [Change(-2.0, -3.0, -1.0)] * 2}
    figure = change_chart(["first", "second"], series, title="What it is worth", unit="nats")
    axes = figure.axes[0]
    assert labels_of(figure) == ["first", "second"]
    points = {tuple(point) for marks in axes.collections if len(marks.get_offsets()) == 2 for point in marks.get_offsets()}
    assert {x for x, _ in points} == {1.0, 0.1, -2.0}
    lines = [segment for marks in axes.collections for segment in getattr(marks, "get_segments", list)()]
    assert sorted({(line[0][0], line[1][0]) for line in lines}) == [(-3.0, -1.0), (-0.2, 0.4), (0.5, 1.5)]
    faces = next(marks.get_facecolor() for marks in axes.collections if len(marks.get_offsets()) == 2)
    assert faces[1] == pytest.approx(np.ones(4))  # hollow: its interval holds 0
    assert faces[0] != pytest.approx(np.ones(4))
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"mean", "permutation"}
    assert "nats" in axes.get_xlabel()


def test_of_many_parts_the_largest_changes_are_shown_in_their_order():
    changes = [Change(float(i % 50), 0.0, 100.0) for i in range(60)]
    figure = change_chart([f"part {i}" for i in range(60)], {"mean": changes}, title="T", unit="nats")
    shown = [int(label.split()[1]) for label in labels_of(figure)]
    assert len(shown) == 40
    assert shown == sorted(shown)
    assert min(abs(changes[i].mean) for i in shown) >= max(abs(changes[i].mean) for i in set(range(60)) - set(shown))
    assert "40 largest of 60" in figure.get_suptitle()


def test_the_map_has_zero_in_the_middle_of_its_colours():
    values = np.array([[0.0, 2.0], [-1.0, 0.0]])
    figure = change_map(values, title="T", unit="nats")
    picture = figure.axes[0].images[0]
    assert np.array_equal(picture.get_array(), values)
    assert picture.get_clim() == (-2.0, 2.0)
    assert change_map(np.zeros((2, 2)), title="T", unit="nats").axes[0].images[0].get_clim() == (-1.0, 1.0)

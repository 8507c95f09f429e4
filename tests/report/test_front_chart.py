"""The page of a search with several objectives, against fronts found by eye."""

import itertools
import re

import pytest

from kerasnas.record import SearchRecord
from kerasnas.report.front_chart import front_chart

ACCURACY = [0.9, 0.8, 0.85, 0.5, 0.4]
# Trial 3 is the best compromise of the front 1, 3, 4: the others are its ends. Trial 2 is beaten by 3, and 5 by 4.
PARAMETERS = [100_000.0, 30_000.0, 20_000.0, 1_000.0, 1_500.0]
OBJECTIVES = {"val_accuracy": "max", "parameters": "min"}


def points(source):
    """Return tooltip, colour, x and y of each trial's mark."""
    pattern = r'<g id="point-(\d+)"><title>(.*?)</title>.*?<use [^>]*?x="([\d.]+)" y="([\d.]+)" style="fill: (#\w+)'
    return {int(n): (title, colour, float(x), float(y)) for n, title, x, y, colour in re.findall(pattern, source, re.DOTALL)}


@pytest.fixture
def folder(project, tmp_path):
    history = {i: {"parameters": int(n)} for i, n in enumerate(PARAMETERS)} | {5: {"parameters": None}}
    metrics = [{"parameters": n, "macs": 2 * n} for n in PARAMETERS] + [{}]
    return project(tmp_path, [*ACCURACY, None], metrics=metrics, objectives=OBJECTIVES, history=history, max_trials=6)


def test_every_trial_is_at_its_place_and_the_front_and_its_knee_stand_out(folder, page_of):
    marks = points(page_of(folder).source)
    assert sorted(marks) == [1, 2, 3, 4, 5]  # the failed one is nowhere
    assert [marks[i][1] for i in range(1, 6)] == ["#1f6feb", "#c9d1d9", "#d9730d", "#1f6feb", "#c9d1d9"]
    assert [marks[i][0] for i in (1, 3)] == [
        "trial 1: val_accuracy 0.9, parameters 100,000",
        "trial 3: val_accuracy 0.85, parameters 20,000",
    ]
    assert sorted(marks, key=lambda i: marks[i][2]) == [4, 5, 3, 2, 1]  # fewer parameters to the left
    assert sorted(marks, key=lambda i: marks[i][3]) == [1, 3, 2, 4, 5]  # a higher accuracy above
    # A hundredfold range is drawn in logarithms: ten times is as far everywhere.
    x = {i: marks[i][2] for i in marks}
    assert (x[1] - x[3]) / (x[1] - x[4]) == pytest.approx(0.349485, abs=1e-4)  # log(5) / log(100)


def test_the_words_name_the_front_and_the_knee(folder, page_of):
    words = page_of(folder).words
    for text in (
        "judged by val_accuracy (higher is better) and parameters (lower is better)",
        "0.85 val_accuracy of the knee 20,000 parameters of the knee",
        "The front: 3 trials that no other beats",
        "knee: trial 3",
        "The winner: trial 3 It is the knee of the front: val_accuracy 0.85, parameters 20,000. ",
        "The whole front: trials 1, 3, 4.",
        "trial status front val_accuracy best epoch parameters MACs seconds choices 3 completed knee 0.85 2 20,000 40k 6",
        "1 completed front 0.9 2 100,000 200k 6",
        "4 completed front 0.5 2 1,000 2k 6",
        "2 completed 0.8 2 30,000 60k 6",
        "6 failed n/a n/a n/a n/a 6",
    ):
        assert text in words
    for text in ("multi_objective", "Score of each trial", "first two", "Of two trials", "partly luck"):
        assert text not in words


def test_of_more_objectives_the_first_two_are_drawn(project, page_of, tmp_path):
    # Trial 2 is on the front for its latency alone.
    metrics = [{"parameters": n, "latency_ms": ms} for n, ms in zip(PARAMETERS, (5.0, 1.0, 5.0, 5.0, 5.0), strict=True)]
    objectives = {**OBJECTIVES, "latency_ms": "min"}
    page = page_of(project(tmp_path, ACCURACY, metrics=metrics, objectives=objectives))
    assert "Drawn are the first two of 3 objectives: a trial may be on the front for the others." in page.words
    assert "val_accuracy (higher is better), parameters (lower is better) and latency_ms (lower is better)" in page.words
    assert "The front: 4 trials that no other beats" in page.words
    marks = points(page.source)
    assert [i for i in marks if marks[i][1] == "#c9d1d9"] == [5]
    assert marks[2][0] == "trial 2: val_accuracy 0.8, parameters 30,000, latency_ms 1"


@pytest.mark.parametrize(
    ("accuracy", "front", "text"),
    [
        ([0.9, 0.8], "1 trial", "Here one trial is at least as good as all others in everything."),
        (
            [0.8, 0.9],
            "2 trials",
            "Of two trials neither does, and the one that takes fewer operations is taken, or else the earliest.",
        ),
    ],
)
def test_small_fronts_have_no_bulge(accuracy, front, text, project, page_of, tmp_path):
    words = page_of(
        project(tmp_path, accuracy, metrics=[{"parameters": 5.0}, {"parameters": 7.0}], objectives=OBJECTIVES)
    ).words
    assert f"The front: {front} that no other beats" in words
    assert text in words
    assert "The winner: trial 1" in words


def test_a_front_of_two_among_three_objectives_is_not_said_to_have_no_bulge(project, page_of, tmp_path):
    metrics = [{"parameters": 5.0, "latency_ms": 1.0}, {"parameters": 7.0, "latency_ms": 2.0}]
    objectives = {**OBJECTIVES, "latency_ms": "min"}
    words = page_of(project(tmp_path, [0.8, 0.9], metrics=metrics, objectives=objectives)).words
    assert "The front: 2 trials that no other beats" in words
    assert "Of two trials" not in words


@pytest.mark.parametrize("directions", [("max", "max"), ("max", "min"), ("min", "max"), ("min", "min")])
def test_the_line_parts_what_the_front_beats_from_what_it_does_not(directions, project, tmp_path):
    signs = [1 if direction == "max" else -1 for direction in directions]
    # From (1, 3) over (2, 2) to (3, 1), all to be high, turned as the directions say.
    first, second = [
        [10 + sign * value for value in values] for sign, values in zip(signs, ((3, 2, 1), (1, 2, 3)), strict=True)
    ]
    objectives = dict(zip(("val_accuracy", "cost"), directions, strict=True))
    source = front_chart(
        SearchRecord.load(project(tmp_path, first, metrics=[{"cost": c} for c in second], objectives=objectives))
    )
    marks = {(x, y) for _, _, x, y in points(source).values()}
    line = re.search(r'<g id="line2d_\d+">\s*<path d="([^"]*)" clip-path[^>]*stroke: #1f6feb', source).group(1)
    corners = {tuple(map(float, pair)) for pair in re.findall(r"[ML] ([\d.]+) ([\d.]+)", line)} - marks
    # A corner is as bad as the worse of its two neighbours, in both objectives: it is beaten by both. The y of SVG points down.
    ordered = sorted(marks)
    expected = {
        (min(a[0], b[0]) if signs[1] > 0 else max(a[0], b[0]), max(a[1], b[1]) if signs[0] > 0 else min(a[1], b[1]))
        for a, b in itertools.pairwise(ordered)
    }
    assert len(corners) == 2
    assert corners == expected


def test_a_search_with_one_objective_or_without_a_finite_trial_has_no_front(project, tmp_path):
    assert front_chart(SearchRecord.load(project(tmp_path / "one", ACCURACY))) is None
    lost = project(tmp_path / "lost", [0.5, None], metrics=[{}, {}], objectives=OBJECTIVES)
    assert front_chart(SearchRecord.load(lost)) is None


def test_a_page_without_a_front_is_whole(project, page_of, tmp_path):
    words = page_of(project(tmp_path, [None, None], metrics=[{}, {}], objectives=OBJECTIVES)).words
    assert "no network yet" in words
    assert "The front" not in words
    assert "1 failed n/a n/a" in words


def test_predictions_of_one_number_for_several_objectives_are_no_predictions_of_them(project, page_of, tmp_path):
    decisions = [{"predicted": {"mean": -1.25, "std": 0.5}}, {}]
    metrics = [{"parameters": 5.0}, {"parameters": 7.0}]
    words = page_of(project(tmp_path, [0.8, 0.9], metrics=metrics, objectives=OBJECTIVES, decisions=decisions)).words
    assert "1 Reinforce 1.25 ± 0.5 distance from the ideal, under the weights of that trial 0" in words
    assert "scores came within" not in words
    assert "Came: the number of the trial's front among all trials, 0 for the best" in words
    assert "It does not compare with what was predicted" in words


def test_the_curves_are_those_of_the_first_objective_that_has_some(project, page_of, tmp_path):
    metrics = [{"parameters": 5.0}, {"parameters": 7.0}]
    words = page_of(
        project(tmp_path, [0.8, 0.9], metrics=metrics, objectives={"parameters": "min", "val_accuracy": "max"})
    ).words
    assert re.search(r"Learning curves .* epoch .* val_accuracy Every trial in grey", words)

"""The charts of the page, by what is drawn in them."""

import re
from dataclasses import replace

import keras_tuner as kt
import numpy as np
import pytest
from written_searches import write

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.record import SearchRecord
from kerasnas.report.charts import belief_chart, foresight_chart
from kerasnas.report.svg import SECOND
from kerasnas.strategies.arms import Arms


@pytest.mark.parametrize("units", [8, 40, 48, 72, 504, 512])
def test_the_bin_that_holds_the_value_of_the_winner_alone_has_its_colour(units, tmp_path):
    hp = kt.HyperParameters()
    hp.Int("units", 8, 512, step=8)
    space = tuple(entries_of(hp))
    (decision,) = decisions_of(space)
    arms = Arms(decision)
    shares = np.linspace(1, 9, len(arms)) / np.linspace(1, 9, len(arms)).sum()
    record = SearchRecord.load(write(tmp_path, [0.1, 0.9], values={0: {"units": 16}, 1: {"units": units}}))
    last = replace(record.trials[1], decision={"beliefs": {"units": dict(zip(arms.labels(), shares, strict=True))}})
    drawn = belief_chart(replace(record, space=space, trials=(record.trials[0], last)))
    colours = dict(re.findall(r'id="[^"]*belief-0-(\d+)".*?fill: (#\w+)', drawn, re.DOTALL))
    assert len(colours) == len(arms)
    assert [int(bar) for bar, colour in colours.items() if colour == SECOND] == [int(arms.of(decision.to_unit(units)))]


@pytest.mark.parametrize("direction", ["max", "min"])
def test_what_the_zoom_leaves_out_of_the_predictions_is_told_at_the_edge(direction, tmp_path):
    sign = 1 if direction == "max" else -1
    scores = [-30.0, -41.5, *(0.8 + 0.01 * i for i in range(12))]
    record = SearchRecord.load(write(tmp_path, [sign * score for score in scores], direction=direction))
    means = [-27.0, -52.5, *scores[2:]]
    foretold = [
        replace(trial, decision={"predicted": {"mean": mean, "std": 0.1}})
        for trial, mean in zip(record.trials, means, strict=True)
    ]
    drawn = foresight_chart(replace(record, trials=tuple(foretold)))
    places = {text: float(y) for y, text in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]+)</text>', drawn)}
    values = [f"{sign * value:.3g}" for value in (-30, -27, -41.5, -52.5)]
    assert set(values) <= set(places)
    middle = places["score"]  # the name of the axis, half way up
    assert all((places[value] > middle) == (direction == "max") for value in values)

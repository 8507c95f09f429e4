"""The charts of the page, by what is drawn in them."""

import re
from dataclasses import replace

import keras_tuner as kt
import numpy as np
import pytest
from written_searches import write

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.record import SearchRecord
from kerasnas.report.charts import belief_chart
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

"""The files that a compression search finds again: of older versions, and damaged ones."""

import json

import keras
import numpy as np
import pytest

from kerasnas.compression_search import Candidate, Goal
from kerasnas.compression_search.journal import Journal
from kerasnas.compression_search.results import read_result, replaced
from kerasnas.errors import InvalidArgument


@pytest.fixture
def journal(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def make():
        return Journal(tmp_path, [np.zeros(3)], model, {"seed": 0})

    return make


def row(size, trial):
    return Candidate(trial, "float32", size, size, 1.0, 1.0, 0.9, 0.0, 0.0, size, size, 1000)


def test_trials_that_do_not_tell_the_size_of_the_original_have_it_from_its_file(journal, tmp_path):
    first = journal()
    for number, size in enumerate([1000, 250]):
        first.add({"number": number, "rows": [row(size, number).to_dict()], "seconds": 1.0})
    known = json.loads((tmp_path / "trials.json").read_text())
    for trial in known["trials"]:
        for one in trial["rows"]:
            del one["original_bytes"]
    (tmp_path / "trials.json").write_text(json.dumps(known))
    assert journal().rows == first.rows
    assert [one.reduction for one in journal().rows] == [1, 4]
    known["trials"][0]["rows"] = []
    (tmp_path / "trials.json").write_text(json.dumps(known))
    with pytest.raises(InvalidArgument, match="damaged"):
        journal()


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", '{"goal": null}', '{"goal": 3, "path": "c.onnx"}', '{"goal": {"best": "smallest"}, "path": 1}']
)
def test_a_damaged_table_tells_nothing(tmp_path, text):
    (tmp_path / "compression.json").write_text(text)
    assert read_result(tmp_path) is None
    assert replaced(tmp_path, Goal()) is None


def test_a_table_of_another_version_tells_what_was_chosen(tmp_path):
    known = {"goal": {"best": "smallest", "smaller": 0.1}, "path": "c.onnx", "settings": {}}  # a bound that is none any more
    (tmp_path / "compression.json").write_text(json.dumps(known))
    assert read_result(tmp_path) == known
    assert replaced(tmp_path, Goal()) is None

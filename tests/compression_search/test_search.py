"""The whole search on digits: what is told of the files is what they are, and it goes on after a kill."""

import importlib
import json
import shutil

import keras
import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_digits

from kerasnas.compression_search import compress, prune_and_measure
from kerasnas.errors import InvalidArgument
from kerasnas.export import Certificate

layers = keras.layers
MODULE = importlib.import_module("kerasnas.compression_search.search")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    x, y = (data.images / 16).astype("float32")[..., None], data.target
    return {"train": (x[:900], y[:900]), "held_out": (x[900:1350], y[900:1350]), "test": (x[1350:], y[1350:])}


@pytest.fixture(scope="module")
def model(digits):
    keras.utils.set_random_seed(0)
    stack = [
        layers.Conv2D(24, 3, padding="same", name="a", activation="relu"),
        layers.Conv2D(32, 3, name="b", activation="relu"),
    ]
    head = [layers.Flatten(), layers.Dense(48, activation="relu", name="c"), layers.Dense(10, activation="softmax")]
    network = keras.Sequential([keras.Input((8, 8, 1)), *stack, *head])
    network.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(*digits["train"], epochs=5, verbose=0)
    return network


@pytest.fixture(scope="module")
def settings(digits):
    more = {"max_loss": 0.05, "epochs": 3, "formats": ["U8U8"], "verbose": 0, "batch_size": 32}
    return {"held_out": digits["held_out"], "test": digits["test"], **more}


@pytest.fixture(scope="module")
def found(model, digits, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compression")
    return compress(model, digits["train"], max_trials=2, directory=folder, **settings)


def accuracy(path, x, y):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return float(np.mean(session.run(None, {session.get_inputs()[0].name: x})[0].argmax(axis=1) == y))


@pytest.mark.slow
def test_the_figures_are_those_of_the_files(found, digits, model):
    folder = found.path.parent
    told = json.loads((folder / "compression.json").read_text())
    assert told["rows"][told["chosen"]] == found.chosen.to_dict()
    for row in found.pareto:
        file = folder / "networks" / f"{row.trial}-{row.format}.onnx"
        assert row.size_bytes == file.stat().st_size
        assert row.accuracy == pytest.approx(accuracy(file, *digits["held_out"]))
        assert row.loss == pytest.approx(found.original.accuracy - row.accuracy)
    assert found.original.accuracy == pytest.approx(model.evaluate(*digits["held_out"], verbose=0)[1])
    assert found.original.parameters == model.count_params()
    fit = [row for row in found.rows if row.loss + row.loss_error <= 0.05]
    assert found.chosen.size_bytes == min(row.size_bytes for row in fit) < found.original.size_bytes / 3
    assert found.model.count_params() == found.chosen.parameters
    assert found.test["chosen"] == pytest.approx(accuracy(found.path, *digits["test"]))
    assert found.test["original"] == pytest.approx(model.evaluate(*digits["test"], verbose=0)[1])
    assert found.control.n_held_out == found.n_held_out == 450
    assert Certificate.load(folder / "compressed.json").check(found.path).passed
    printed = str(found)
    for text in ("original, float32", "times smaller", "450 held-out samples", "447 test samples", "from scratch"):
        assert text in printed
    for name in ("chart.png", "chart.svg"):
        assert found.save(folder / name).stat().st_size > 3000
    with pytest.raises(InvalidArgument, match=r"\.png or \.svg"):
        found.save("chart.gif")


@pytest.mark.slow
def test_it_goes_on_after_a_kill_and_another_goal_needs_no_training(found, model, digits, settings, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(found.path.parent, folder)
    known = json.loads((folder / "trials.json").read_text())
    known["trials"] = known["trials"][:2]  # the original and the first network
    (folder / "trials.json").write_text(json.dumps(known))
    trained = []

    def prune(*args, **kwargs):
        trained.append(kwargs["ratio"])
        return MODULE_PRUNE(*args, **kwargs)

    MODULE_PRUNE = MODULE.prune_channels
    monkeypatch.setattr(MODULE, "prune_channels", prune)
    again = compress(model, digits["train"], max_trials=2, directory=folder, control=False, **settings)
    assert len(trained) == 1
    assert [(row.trial, row.format, row.accuracy) for row in again.rows] == [
        (row.trial, row.format, row.accuracy) for row in found.rows
    ]
    fast = compress(model, digits["train"], goal="fastest", max_trials=2, directory=folder, control=False, **settings)
    assert len(trained) == 1
    assert fast.chosen.speedup == max(row.speedup for row in fast.pareto if row.loss + row.loss_error <= 0.05)
    with pytest.raises(InvalidArgument, match="another directory"):
        compress(model, digits["test"], max_trials=2, directory=folder, **settings)
    (folder / "trials.json").write_text("{")
    with pytest.raises(InvalidArgument, match="damaged"):
        compress(model, digits["train"], directory=folder, **settings)


@pytest.mark.slow
def test_a_bound_that_nothing_keeps_is_told(model, digits, tmp_path, capsys):
    tight = {"goal": "most accurate", "max_bytes": 1500, "max_trials": 1, "directory": tmp_path, "control": False}
    found = compress(model, digits["train"], held_out=0.2, formats=["U8U8"], **tight)
    assert "NO FILE OF" in found.reason
    assert found.chosen.size_bytes == min(row.size_bytes for row in found.rows)
    assert found.n_held_out == 180
    # What leaves more than 1,500 weights was passed over without training.
    trials = json.loads((tmp_path / "trials.json").read_text())["trials"]
    assert sum("screened" in trial for trial in trials) >= 2
    assert sum(bool(trial["rows"]) for trial in trials) <= 2
    capsys.readouterr()


@pytest.mark.slow
def test_one_network_with_all_that_a_search_measures(model, digits, tmp_path):
    more = {"formats": ["float16"], "epochs": 1, "directory": tmp_path, "control": False}
    found = prune_and_measure(model, digits["train"], digits["held_out"], macs=0.25, **more)
    assert found.chosen.macs <= found.original.macs / 4
    assert found.goal is None
    assert found.chosen.accuracy == pytest.approx(accuracy(found.path, *digits["held_out"]))
    assert {row.format for row in found.rows} == {"float32", "float16"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"goal": "tiny"}, "got 'tiny'"),
        ({"formats": ["int4"]}, "got .'int4'."),
        ({"formats": "U8U8"}, "got 'U8U8'"),
        ({"strategy": "dyna"}, "Strategy or None, got 'dyna'"),
        ({"max_trials": -1}, "max_trials to be an integer of at least 0"),
        ({"max_time": 0}, "max_time > 0"),
        ({"held_out": 1.0}, r"\(0, 1\), got 1.0"),
        ({"held_out": 0.0001}, "enough samples"),
        ({"data": np.zeros((4, 8, 8, 1))}, "data as"),
        ({"data": (np.zeros((4, 8, 8, 1)), np.array([0, 1, 2, 10]))}, "from 0 to 9"),
        ({"data": (np.zeros((4, 8, 8, 1)), np.array([0.5, 1, 2, 3]))}, "class indices"),
        ({"data": (np.zeros((4, 8, 8, 2)), np.arange(4))}, "inputs of shape"),
    ],
)
def test_mistakes(change, message, model, digits, tmp_path):
    given = {"data": digits["train"], "directory": tmp_path, **change}
    with pytest.raises(InvalidArgument, match=message):
        compress(model, **given)
    assert not list(tmp_path.iterdir())

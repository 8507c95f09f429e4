"""The whole search on digits: what is told of the files is what they are, a kill stops nothing, and mistakes leave no trace."""

import importlib
import json
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from kerasnas.compress import AlreadyWithinTarget
from kerasnas.compression_search import compress, prune_and_measure
from kerasnas.compression_search.results import write_chosen
from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.export import Certificate
from kerasnas.litert import open_litert

layers = keras.layers
MODULE = importlib.import_module("kerasnas.compression_search.search")
SINGLE = importlib.import_module("kerasnas.compression_search.single")

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
    return compress(model, *digits["train"], max_trials=2, directory=folder, **settings)


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
    assert found.n_held_out == 450
    # The control and the certificate are measured on samples that chose nothing.
    assert found.control.n_held_out == 447
    assert found.control.pruned_accuracy == pytest.approx(found.model.evaluate(*digits["test"], verbose=0)[1])
    certificate = Certificate.load(folder / "compressed.json")
    assert certificate.check(found.path).passed
    assert certificate.accuracy == {
        "file": pytest.approx(found.test["chosen"]),
        "model": pytest.approx(found.control.pruned_accuracy),
        "samples": 447,
        "original": pytest.approx(found.test["original"]),
    }
    assert "before compression" in str(certificate)
    assert certificate.measured["accuracy.file"].endswith("on test samples, which chose nothing")
    printed = str(found)
    for text in (
        "original, float32",
        "times smaller",
        "450 held-out samples",
        "447 test samples, which chose",
        "from scratch",
        "MACs",
    ):
        assert text in printed
    for name in ("chart.png", "chart.svg"):
        assert found.save(folder / name).stat().st_size > 3000
    with pytest.raises(InvalidArgument, match=r"\.png or \.svg"):
        found.save("chart.gif")


KILLED = """
import sys, keras, numpy as np
from kerasnas.compression_search import compress
keras.config.disable_interactive_logging()
data = np.load(sys.argv[2])
pairs = [(data[f"{name}_x"], data[f"{name}_y"]) for name in ("train", "held_out", "test")]
compress(keras.models.load_model(sys.argv[1]), pairs[0], held_out=pairs[1], test=pairs[2], max_trials=2, max_loss=0.05,
         epochs=3, formats=["U8U8"], verbose=0, batch_size=32, directory=sys.argv[3])
"""


@pytest.mark.slow
def test_it_goes_on_after_a_kill(model, digits, settings, tmp_path, monkeypatch):
    model.save(tmp_path / "model.keras")
    np.savez(
        tmp_path / "data.npz",
        **{f"{name}_{end}": a for name, pair in digits.items() for end, a in zip("xy", pair, strict=True)},
    )
    folder = tmp_path / "search"
    names = [tmp_path / "model.keras", tmp_path / "data.npz", folder]
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", KILLED, *map(str, names)])
    known = []
    while len(known) < 2:  # the original, and the first network
        assert process.poll() is None
        time.sleep(0.02)
        known = json.loads((folder / "trials.json").read_text())["trials"] if (folder / "trials.json").exists() else []
    process.kill()  # while the second is trained
    assert process.wait() == -9
    before = (folder / "trials.json").read_bytes()
    assert len(json.loads(before)["trials"]) == 2
    trained = counted(monkeypatch)
    again = compress(model, digits["train"], max_trials=2, directory=folder, control=False, **settings)
    assert len(trained) == 1
    assert json.loads((folder / "trials.json").read_text())["trials"][:2] == json.loads(before)["trials"]
    assert len(again.rows) == 6
    assert Certificate.load(folder / "compressed.json").check(again.path).passed


def counted(monkeypatch):
    """Return a list to which each network that is trained adds itself."""
    trained, prune = [], MODULE.prune_channels
    monkeypatch.setattr(MODULE, "prune_channels", lambda *a, **k: trained.append(k["ratio"]) or prune(*a, **k))
    return trained


@pytest.fixture
def copy(found, tmp_path):
    return shutil.copytree(found.path.parent, tmp_path / "copy")


@pytest.mark.filterwarnings("ignore:The original gets:UserWarning")  # it is not trained
def test_a_function_without_a_name_is_that_of_the_original(digits, tmp_path):
    times = 0.5
    halve = layers.Lambda(lambda v: v * times, output_shape=(16,))
    stack = [layers.Flatten(), layers.Dense(24, "relu"), layers.Dense(16), halve, layers.Dense(10, activation="softmax")]
    network = keras.Sequential([keras.Input((8, 8, 1)), *stack])
    settings = {"max_loss": 1.0, "epochs": 1, "formats": [], "verbose": 0, "held_out": digits["held_out"]}
    for _ in range(2):  # the second time nothing is trained but the control
        found = compress(network, digits["train"], max_trials=1, directory=tmp_path, **settings)
        assert found.chosen.trial == 1
        right = found.model.predict(digits["held_out"][0], verbose=0).argmax(axis=1) == digits["held_out"][1]
        assert found.chosen.accuracy == pytest.approx(right.mean())
        assert found.control.pruned_accuracy == pytest.approx(right.mean())


def test_litert_files_compete_and_one_of_another_kind_leaves_nothing_behind(model, digits, settings, tmp_path):
    more = {**settings, "max_trials": 0, "directory": tmp_path, "formats": ["LiteRT int8", "LiteRT float16", "U8U8"]}
    small = compress(model, digits["train"], **more)
    assert {row.format for row in small.rows} == {"float32", "LiteRT int8", "LiteRT float16", "U8U8"}
    assert small.chosen.format == "LiteRT int8"
    assert small.path == tmp_path / "compressed.tflite"
    assert small.chosen.size_bytes == small.path.stat().st_size < min(r.size_bytes for r in small.rows if r != small.chosen)
    session = open_litert(small.path)
    scores = [session.run({session.inputs[0][0]: image[None]})[0] for image in digits["held_out"][0]]
    right = np.concatenate(scores).argmax(axis=1) == digits["held_out"][1]
    assert small.chosen.accuracy == pytest.approx(right.mean())
    assert Certificate.load(tmp_path / "compressed.tflite.json").check(small.path).passed
    best = compress(model, digits["train"], **{**more, "max_loss": 0.0, "max_bytes": 10**6, "goal": "fastest"})
    left = {path.name for path in tmp_path.glob("compressed.*")}
    paper = "compressed.json" if best.path.suffix == ".onnx" else "compressed.tflite.json"
    assert left == {best.path.name, paper, "compressed.keras"}


@pytest.mark.slow
def test_another_goal_needs_no_training(copy, found, model, digits, settings, monkeypatch):
    trained = counted(monkeypatch)
    more = {"max_trials": 2, "directory": copy, "control": False, **settings}
    fast = compress(model, digits["train"], goal="fastest", **more)
    assert f"replaces the file made for the goal {found.goal}" in fast.replaces
    assert fast.replaces in str(fast)
    assert found.replaces is None
    there = [row for row in fast.rows if (copy / "networks" / f"{row.trial}-{row.format}.onnx").exists()]
    fit = [row for row in there if row.loss + row.loss_error <= 0.05]
    alike = [row for row in fit if row.speedup >= max(row.speedup for row in fit) * np.exp(-0.02)]
    assert fast.chosen in alike
    assert fast.chosen.accuracy == max(row.accuracy for row in alike)
    # One that was deleted, since others beat it, would be the only one fast enough for this goal.
    told = json.loads((copy / "trials.json").read_text())
    row = found.chosen.to_dict()
    row |= {"trial": 3, "size_bytes": row["size_bytes"] + 1, "latency_ms": row["latency_ms"] / 1000}
    row["original_ms"] = row["latency_ms"] * found.chosen.speedup * 0.9
    told["trials"].append({**told["trials"][-1], "number": 3, "rows": [row]})
    (copy / "trials.json").write_text(json.dumps(told))
    none = compress(model, digits["train"], max_latency_ms=row["latency_ms"] * 2, **more)
    assert not none.keeps_bounds
    assert not trained


@pytest.mark.slow
def test_the_last_timing_is_what_is_told_and_decides(copy, model, digits, settings, monkeypatch):
    def timed(files, *others):
        return {name: (float(1 + i), 8.0) for i, name in enumerate(reversed(files))}

    monkeypatch.setattr(MODULE, "side_by_side", lambda *arguments: dict(reversed(timed(*arguments).items())))
    more = {"max_trials": 2, "directory": copy, "control": False, **settings, "max_loss": 0.9}
    fast = compress(model, digits["train"], goal="fastest", **more)
    assert {row.original_ms for row in fast.rows} == {8.0}
    assert fast.chosen.latency_ms == 1.0


@pytest.mark.slow
def test_another_search_is_refused(copy, model, digits, settings):
    def again(network=model, data=digits["train"], **more):
        return compress(network, data, max_trials=2, directory=copy, control=False, **settings, **more)

    with pytest.raises(InvalidArgument, match=r"other data and weights\. .*another directory"):
        again(data=digits["test"])
    with pytest.raises(InvalidArgument, match=r"other export\."):
        again(export={"labels": list("abcdefghij")})
    with pytest.raises(InvalidArgument, match=r"other architecture\."):
        again(changed(model, activation="elu"))
    assert again(changed(model, activation="relu")).rows  # other names of the layers are of no account
    (copy / "trials.json").write_text("{")
    with pytest.raises(InvalidArgument, match="damaged"):
        again()


def changed(model, activation):
    """Return a twin of the model with other names, and this activation in the first layer."""
    config = model.get_config()
    for number, layer in enumerate(config["layers"]):
        layer["config"]["name"] = f"renamed_{number}"
    config["layers"][1]["config"]["activation"] = activation
    twin = keras.Sequential.from_config(config | {"name": "twin"})
    twin.set_weights(model.get_weights())
    return twin


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_is_a_failed_trial(copy, model, digits, settings, monkeypatch):
    told = json.loads((copy / "trials.json").read_text())
    (copy / "trials.json").write_text(json.dumps({**told, "trials": told["trials"][:1]}))
    write = MODULE.Bench.write

    def fail(bench, network, folder, stem):
        write(bench, network, folder, stem)
        raise ExportMismatch("It is another function.")

    monkeypatch.setattr(MODULE.Bench, "write", fail)
    more = {"control": False, **settings, "verbose": 1}
    found = compress(model, digits["train"], max_trials=1, directory=copy, **more)
    assert found.chosen.trial == 0
    failed = json.loads((copy / "trials.json").read_text())["trials"][1]
    assert (failed["failure"], failed["rows"]) == ("It is another function.", [])
    assert not list((copy / "networks").glob("1*"))
    # A file that gives no numbers is no better.
    monkeypatch.setattr(MODULE.Bench, "write", write)
    monkeypatch.setattr(MODULE, "prune_channels", lambda *_, **__: overflowing(model))
    x, y = digits["held_out"]
    far = np.concatenate([x, x[:1] * 1e30]), np.append(y, 0)
    fresh = {**more, "held_out": far, "formats": [], "directory": copy / "fresh", "max_trials": 1}
    assert compress(model, digits["train"], **fresh).chosen.trial == 0
    failed = json.loads((copy / "fresh" / "trials.json").read_text())["trials"][1]
    assert "NaN" in failed["failure"]
    monkeypatch.setattr(SINGLE, "prune_channels", lambda *_, **__: overflowing(model))
    with pytest.raises(KerasNASError, match=r"1-float32\.onnx gives NaN or infinity .* Prune less"):
        prune_and_measure(model, digits["train"], far, ratio=0.5, formats=[], directory=copy)


def overflowing(model):
    """Return a network of finite weights whose outputs are not numbers for inputs of 1e30."""
    twin = keras.models.clone_model(model)
    twin.set_weights([w * 1e3 if w.ndim > 1 else w for w in model.get_weights()])
    return twin


@pytest.mark.slow
def test_a_file_that_cannot_be_certified_leaves_the_earlier_one(copy, found, model, digits):
    names = ("compressed.onnx", "compressed.json", "compressed.keras")
    before = [(copy / name).read_bytes() for name in names]
    with pytest.raises(ExportMismatch):
        write_chosen(copy, copy / "networks" / "0-float32.onnx", overflowing(model), digits["test"], "", 0.0, [], {})
    assert [(copy / name).read_bytes() for name in names] == before
    assert {path.name for path in copy.glob(".*")} <= {".lock"}
    (copy / "compressed.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="is no certificate"):
        write_chosen(copy, copy / "networks" / "0-float32.onnx", model, digits["test"], "", 0.0, [], {})
    assert (copy / "compressed.onnx").read_bytes() == before[0]


@pytest.mark.slow
def test_a_bound_that_nothing_keeps_is_told(model, digits, tmp_path, capsys):
    tight = {"goal": "most accurate", "max_bytes": 1500, "max_trials": 1, "directory": tmp_path, "control": False}
    found = compress(model, digits["train"], held_out=0.2, formats=["U8U8"], **tight)
    assert f"NONE OF THE {len(found.rows)} MEASURED FILES KEEPS THE BOUNDS" in found.reason
    assert not found.keeps_bounds
    assert found.chosen.size_bytes == min(row.size_bytes for row in found.rows)
    assert found.n_held_out == 180
    told = Certificate.load(tmp_path / "compressed.json")
    assert (told.accuracy["samples"], told.accuracy["original"]) == (180, found.original.accuracy)
    assert told.measured["accuracy.file"].endswith("on held-out samples, which also chose it")
    # What leaves more than 1,500 weights was passed over without training.
    trials = json.loads((tmp_path / "trials.json").read_text())["trials"]
    assert sum("screened" in trial for trial in trials) >= 2
    assert sum(bool(trial["rows"]) for trial in trials) <= 2
    capsys.readouterr()


def test_the_original_is_said_to_be_itself_where_nothing_is_better(model, digits, tmp_path):
    held = digits["held_out"]
    found = compress(model, digits["train"], held_out=held, max_trials=0, formats=[], directory=tmp_path, verbose=0)
    assert found.chosen == found.original
    assert (found.chosen.speedup, found.chosen.reduction) == (1, 1)
    assert "it is the original's float file." in found.reason
    assert "times" not in found.reason


@pytest.mark.slow
def test_one_network_with_all_that_a_search_measures_beside_a_search(copy, model, digits):
    kept = [copy / "trials.json", *(copy / "networks").iterdir()]
    before = [file.read_bytes() for file in kept]
    more = {"formats": ["float16"], "epochs": 1, "directory": copy, "control": False}
    found = prune_and_measure(model, digits["train"], digits["held_out"], macs=0.25, **more)
    assert found.chosen.macs <= found.original.macs / 4
    assert found.goal is None
    assert found.chosen.accuracy == pytest.approx(accuracy(found.path, *digits["held_out"]))
    assert {row.format for row in found.rows} == {"float32", "float16"}
    assert [file.read_bytes() for file in kept] == before
    assert set((copy / "networks").iterdir()) == set(kept[1:])
    accuracies = Certificate.load(copy / "compressed.json").accuracy
    assert (accuracies["file"], accuracies["original"]) == (found.chosen.accuracy, found.original.accuracy)


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
        ({"x": np.zeros((4, 8, 8, 1))}, "data as .* Pass labels"),
        ({"x": (np.zeros((4, 8, 8, 1)), np.array([0, 1, 2, 10]))}, "from 0 to 9"),
        ({"x": (np.zeros((4, 8, 8, 1)), np.array([0.5, 1, 2, 3]))}, "class indices"),
        ({"x": (np.zeros((4, 8, 8, 2)), np.arange(4))}, "inputs of shape"),
        ({"x": (tf.data.Dataset.from_tensors((np.zeros((4, 8, 8, 1)), np.arange(4))), None)}, r"got a tf\.data\.Dataset"),
    ],
)
def test_mistakes(change, message, model, digits, tmp_path):
    given = {"x": digits["train"], "directory": tmp_path, **change}
    with pytest.raises(InvalidArgument, match=message):
        compress(model, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_within_its_target_is_told(copy, found, model, digits):
    with pytest.warns(AlreadyWithinTarget, match="within parameters <= 1e"):
        same = prune_and_measure(model, digits["train"], digits["held_out"], parameters=1e9, formats=[], directory=copy)
    assert "within the target already: nothing was removed" in same.reason
    assert same.control is None
    assert f"replaces the file made for the goal {found.goal}" in same.replaces
    assert Certificate.load(copy / "compressed.json").compression == ()


def test_a_share_of_less_than_a_channel_is_told(model, digits, tmp_path):
    data = {"data": digits["train"], "held_out": digits["held_out"], "formats": [], "directory": tmp_path}
    with pytest.warns(AlreadyWithinTarget, match="less than one channel"):
        same = prune_and_measure(model, ratio=0.02, **data)
    assert "the network as it was, no channel was removed: the share is less than one channel of each layer, in" in same.reason
    assert "target" not in same.reason
    assert same.chosen.accuracy == same.original.accuracy

"""The edge kit's runner on files that the exporter wrote: the probabilities of Keras, the maps of `kerasnas.explain`."""

import copy
import functools
import importlib.util
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from PIL import Image

from kerasnas import explain
from kerasnas.datasets import load
from kerasnas.export import certify, quantize, to_litert, to_onnx
from kerasnas.export.certificate import certificate_path
from kerasnas.export.quantization_formats import FORMATS
from kerasnas.export.self_test import fixed_samples
from kerasnas.litert import open_litert
from kerasnas.search.ensemble import average

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "export" / "runner" / "classify.py"


@pytest.fixture(scope="module")
def runner():
    spec = importlib.util.spec_from_file_location("classify", RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return smooth random pictures in strong colours, as files and as arrays."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths, arrays = [], []
    for number in range(12):
        picture = Image.fromarray(rng.choice([0, 255], (2, 2, 3)).astype(np.uint8)).resize((12, 16), Image.Resampling.BICUBIC)
        paths.append(folder / f"{number:02}.png")
        picture.save(paths[-1])
        arrays.append(np.asarray(picture))
    return paths, np.stack(arrays)


def conv_net(scramble, units, activation, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((16, 12, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(x))
    x = layers.Flatten()(layers.MaxPooling2D(4)(layers.Conv2D(8, 3, activation="relu")(x)))
    return scramble(keras.Model(inputs, layers.Dense(units, activation=activation, name="scores")(x)), seed)


def test_the_probabilities_of_keras(scramble, pictures, tmp_path):
    paths, images = pictures
    model = conv_net(scramble, 5, "softmax")
    to_onnx(model, tmp_path / "model.onnx", labels=list("abcde"), preprocessing={"range": [0, 255]})
    command = [sys.executable, RUNNER, tmp_path / "model.onnx", *paths, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = model.predict(images.astype("float32"), verbose=0)
    assert len({row["label"] for row in rows}) > 1
    assert [row["label"] for row in rows] == ["abcde"[column] for column in expected.argmax(axis=1)]
    found = [[row["probabilities"][label] for label in "abcde"] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("format_", list(FORMATS))
def test_how_files_of_fewer_bits_end(runner, scramble, pictures, tmp_path, format_):
    from kerasnas.export.quantization_formats import prepare, write_quantized

    _, images = pictures
    to_onnx(conv_net(scramble, 5, "softmax"), tmp_path / "model.onnx")
    prepare(tmp_path / "model.onnx", tmp_path / "prepared.onnx")
    write_quantized(tmp_path / "prepared.onnx", tmp_path / "q.onnx", FORMATS[format_], {"image": images.astype("float32")})
    assert runner.ending((tmp_path / "q.onnx").read_bytes()) == "softmax"


def test_a_file_that_quantize_made(runner, scramble, pictures, tmp_path):
    paths, images = pictures
    file = to_onnx(conv_net(scramble, 5, "softmax"), tmp_path / "model.onnx", labels=list("abcde"))
    made = quantize(
        file, images.astype("float32"), goal="size", formats=["float16", "U8U8"], rounds=1, max_loss=1, min_agreement=0
    )
    classifier = runner.Classifier(made.path)
    assert classifier.labels == list("abcde")
    assert classifier.describe()["format"] == made.chosen.name
    pixels = classifier.tensor(runner.read_picture(paths[0], 3))
    (found,) = classifier.probabilities(classifier.run(pixels))
    (answers,) = classifier.session.run(None, {"image": images[:1].astype("float32")})
    np.testing.assert_allclose(found, answers[0], atol=1e-6)


@pytest.mark.parametrize(
    ("format_", "units", "activation"),
    [
        *[(name, 5, "softmax") for name in ("float32", "float16", "int8", "int16")],
        *[(name, units, end) for name in ("float32", "int8") for units, end in ((5, None), (1, "sigmoid"), (1, None))],
        ("int16", 1, "sigmoid"),
        *[(name, 5, "sigmoid") for name in ("float32", "int8")],
    ],
)
def test_litert_files(runner, scramble, pictures, tmp_path, format_, units, activation):
    paths, images = pictures
    model, labels = conv_net(scramble, units, activation), list("abcde"[: max(units, 2)])
    x = images.astype("float32")
    settings = {"calibration": np.tile(x, (4, 1, 1, 1)), "min_agreement": 0} if format_.startswith("int") else {}
    to_litert(model, tmp_path / "m.tflite", format=format_, labels=labels, preprocessing={"range": [0, 255]}, **settings)
    classifier = runner.Classifier(tmp_path / "m.tflite", threads=1)
    assert (classifier.notes, classifier.labels, classifier.batch) == ([], labels, None)
    said = classifier.describe()
    assert (said["format"], said["black_and_white"], said["input"]) == (format_, [0, 255], "16 x 12, colour")
    assert said["answers"] == (activation or "scores")
    pixels = [classifier.tensor(runner.read_picture(path, 3)) for path in paths]
    found = np.concatenate([classifier.probabilities(classifier.run(one)) for one in pixels])
    (scores,) = open_litert(tmp_path / "m.tflite").run({"image": x})
    if format_ == "float32":
        np.testing.assert_allclose(scores, model.predict(x, verbose=0), atol=1e-4)
    expected = scores if activation else np.asarray(keras.ops.sigmoid(scores) if units == 1 else keras.ops.softmax(scores))
    expected = np.concatenate([1 - expected, expected], axis=1) if units == 1 else expected
    np.testing.assert_allclose(found, expected, atol=1e-6)
    together = classifier.probabilities(classifier.run(np.concatenate(pixels)))  # any batch
    np.testing.assert_allclose(together, found, atol=1e-6)
    if format_ in ("float32", "int8"):
        expected = explain.occlusion(tmp_path / "m.tflite", x[:1])
        found = runner.occlusion(classifier, pixels[0], int(expected.targets[0]))
        np.testing.assert_allclose(found, expected.values[0], rtol=1e-3, atol=1e-4)


def test_the_milliseconds_are_those_of_the_network_alone(runner, scramble, pictures, tmp_path, monkeypatch):
    x = np.tile(pictures[1].astype("float32"), (4, 1, 1, 1))
    to_litert(conv_net(scramble, 5, "softmax"), tmp_path / "m.tflite", format="int8", calibration=x, min_agreement=0)
    classifier = runner.Classifier(tmp_path / "m.tflite", threads=1)
    now = [0.0]

    def slowly(original, seconds, *given):
        now[0] += seconds
        return original(*given)

    for seconds, name in ((1.0, "stored"), (0.25, "run"), (2.0, "reals")):
        slow = functools.partial(slowly, getattr(classifier.session, name), seconds)
        monkeypatch.setattr(classifier.session, name, slow)
    monkeypatch.setattr(runner.time, "perf_counter", lambda: now[0])
    classifier.run(classifier.tensor(runner.read_picture(pictures[0][0], 3)))
    assert classifier.latency_ms == 250
    assert now == [3.25]


def test_a_litert_file_on_the_command_line(scramble, pictures, tmp_path):
    to_litert(conv_net(scramble, 5, "softmax"), tmp_path / "m.tflite", labels=list("abcde"))
    command = [sys.executable, RUNNER, tmp_path / "m.tflite", *pictures[0][:2], "--format", "json", "--range", "0", "255"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("classify: ") for line in done.stderr.splitlines())
    assert [set(json.loads(line)["probabilities"]) for line in done.stdout.splitlines()] == [set("abcde")] * 2
    (tmp_path / "cut.tflite").write_bytes((tmp_path / "m.tflite").read_bytes()[:200])
    done = subprocess.run([sys.executable, RUNNER, tmp_path / "cut.tflite"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not a LiteRT file that can be run here" in done.stderr


@pytest.mark.parametrize("kind", ["float32", "U8U8", "LiteRT int8", "bytes"])
def test_a_device_checks_the_certificate_as_kerasnas_does(runner, scramble, pictures, tmp_path, kind, capsys):
    model, x = conv_net(scramble, 5, "softmax"), pictures[1].astype("float32")
    path = tmp_path / ("m.tflite" if kind.startswith("LiteRT") else "m.onnx")
    facts = {"labels": list("abcde"), "preprocessing": {"range": [0, 255]}}
    if kind == "LiteRT int8":
        file = to_litert(model, path, format="int8", calibration=np.tile(x, (4, 1, 1, 1)), min_agreement=0, **facts)
    elif kind == "bytes":
        inputs = keras.Input((16, 12, 3), name="image", dtype="uint8")
        file = to_onnx(keras.Model(inputs, model(keras.ops.cast(inputs, "float32"))), path, **facts)
    else:
        file = to_onnx(model, path, **facts)
        if kind == "U8U8":
            settings = {"formats": ["U8U8"], "rounds": 1, "max_loss": 1, "min_agreement": 0}
            file = quantize(file, np.tile(x, (8, 1, 1, 1)), goal="size", **settings)
            path = file.path
    known = certify(file, min_agreement=0)
    assert known.check(path).passed

    assert runner.main([str(path), "--verify"]) == 0
    said = capsys.readouterr().out
    assert f"{path.name} holds what its certificate says" in said
    assert said.count("  ok ") == 2
    # The samples are those of kerasnas, to the bit.
    (mine,) = fixed_samples([("image", (None, 16, 12, 3), "float32")], 3, value_range=(0, 1))
    np.testing.assert_array_equal(runner.fixed_samples((3, 16, 12, 3), 0).astype("float32"), mine)

    paper = certificate_path(path)
    told = json.loads(paper.read_text())
    (outputs,) = told["self_test"]["outputs"].values()
    outputs["values"][3] += 2 * told["self_test"]["atol"]
    paper.write_text(json.dumps(told))
    assert not known.load(paper).check(path).passed
    assert runner.main([str(path), "--verify"]) == 1
    said = capsys.readouterr().out
    assert "NOT  outputs" in said
    assert "DOES NOT HOLD" in said
    told["file"]["sha256"] = "0" * 64
    paper.write_text(json.dumps(told))
    assert runner.main([str(path), "--verify"]) == 1
    assert "NOT  file" in capsys.readouterr().out
    for content, expected in (
        ("{", "no whole certificate"),
        ("{}", "no whole certificate"),
        (None, "expected the certificate"),
    ):
        paper.unlink() if content is None else paper.write_text(content)
        assert runner.main([str(path), "--verify"]) == 2
        assert expected in capsys.readouterr().err


def test_a_damaged_certificate_checks_nothing(runner, scramble, tmp_path, capsys):
    path = tmp_path / "m.onnx"
    certify(to_onnx(conv_net(scramble, 5, "softmax"), path, labels=list("abcde")))
    whole = json.loads(certificate_path(path).read_text())
    ((output, _),) = whole["self_test"]["outputs"].items()
    places = [("file", "sha256"), *(("self_test", key) for key in whole["self_test"])]
    places += [("self_test", "outputs", output, key) for key in ("shape", "places", "values", "mean")]
    for *way, key in places:
        for wrong in (None, "gone", 0, -1, [], ["x", 1], {}, math.nan, 10**400):
            if (key, wrong) in (("seed", 0), ("seed", 10**400), ("atol", 0), ("mean", 0), ("atol", -1), ("mean", -1)):
                continue  # such may stand there
            told = copy.deepcopy(whole)
            holder = functools.reduce(lambda inner, name: inner[name], way, told)
            if wrong == "gone":
                del holder[key]
            else:
                holder[key] = wrong
            certificate_path(path).write_text(json.dumps(told))
            assert runner.main([str(path), "--verify"]) == 2, (key, wrong)
            said = capsys.readouterr()
            assert "no whole certificate of a classifier" in said.err
            assert said.out == ""
            assert said.err.count("\n") == 1


def test_how_networks_end(runner, scramble, tmp_path):
    def ending(model):
        to_onnx(model, tmp_path / "model.onnx")
        return runner.ending((tmp_path / "model.onnx").read_bytes())

    members = [conv_net(scramble, 3, "softmax", seed) for seed in range(2)]
    assert ending(average(members)) == "softmax"
    assert ending(average(members, weights=[1, 3])) == "softmax"
    assert ending(conv_net(scramble, 1, "sigmoid")) == "sigmoid"
    assert ending(conv_net(scramble, 3, None)) == "scores"
    assert ending(conv_net(scramble, 3, "log_softmax")) == "scores"
    inputs = keras.Input((16, 12, 3))
    x = layers.GlobalAveragePooling2D()(inputs)
    gated = layers.multiply([x, layers.Dense(3, activation="sigmoid")(x)])  # squeeze and excitation
    assert ending(keras.Model(inputs, layers.Dense(3)(gated))) == "scores"
    assert ending(keras.Model(inputs, layers.Softmax()(layers.Dense(3)(gated)))) == "softmax"


@pytest.mark.parametrize(("units", "activation"), [(5, "softmax"), (5, None), (1, "sigmoid")])
def test_the_maps_of_kerasnas(runner, scramble, pictures, tmp_path, units, activation):
    paths, images = pictures
    to_onnx(conv_net(scramble, units, activation), tmp_path / "model.onnx", preprocessing={"range": [0, 255]})
    expected = explain.occlusion(tmp_path / "model.onnx", images[:3].astype("float32"))
    classifier = runner.Classifier(tmp_path / "model.onnx")
    for number in range(3):
        pixels = classifier.tensor(runner.read_picture(paths[number], 3))
        best = int(classifier.probabilities(classifier.run(pixels))[0].argmax())
        assert best == expected.targets[number]
        np.testing.assert_allclose(runner.occlusion(classifier, pixels, best), expected.values[number], rtol=1e-3, atol=1e-4)


def test_a_picture_is_on_the_device_what_it_was_in_training(runner, tmp_path):
    rng, exif = np.random.default_rng(0), Image.Exif()
    exif[274] = 8  # a quarter, counterclockwise
    for number, kind in enumerate(("plain.png", "sideways.jpg", "seen through.png", "palette.gif", "large.png")):
        pixels = rng.integers(0, 256, (40 + number, 30, 4 if number == 2 else 3), dtype=np.uint8)
        for label in ("a", "b"):
            (tmp_path / "pictures" / label).mkdir(parents=True, exist_ok=True)
            how = {"exif": exif} if number == 1 else {}
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{number} {kind}", **how)
    for part in ("train", "test"):
        shutil.copytree(tmp_path / "pictures", tmp_path / "data" / part)
    data = load(tmp_path / "data", image_size=(13, 17))
    inputs = keras.Input((13, 17, 3), name="image")
    to_onnx(
        keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255)(inputs)))),
        tmp_path / "model.onnx",
        preprocessing={"range": [0, 255]},
    )
    classifier = runner.Classifier(tmp_path / "model.onnx")
    files = sorted((tmp_path / "pictures" / "a").iterdir())
    found = np.concatenate([classifier.tensor(runner.read_picture(path, 3)) for path in files])
    assert np.array_equal(found, data.x_train[data.y_train == "a"])


def test_what_the_runner_needs_is_what_the_exporter_is_tested_with():
    needs = (ROOT / "export" / "runner" / "requirements.txt").read_text().splitlines()
    assert {line for line in needs if not line.startswith("#")} <= set((ROOT / "constraints.txt").read_text().splitlines())


def test_protobuf_is_read_as_onnx_reads_it(runner, scramble, tmp_path):
    to_onnx(conv_net(scramble, 2, "softmax"), tmp_path / "model.onnx", labels=["a", "ü" * 200])
    content = (tmp_path / "model.onnx").read_bytes()
    proto = onnx.load_from_string(content)
    (graph,) = [value for number, value in runner.fields(memoryview(content)) if number == 7]
    nodes = [dict(runner.fields(value)) for number, value in runner.fields(graph) if number == 1]
    assert [bytes(node[4]).decode() for node in nodes] == [node.op_type for node in proto.graph.node]

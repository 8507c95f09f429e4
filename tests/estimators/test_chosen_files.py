"""A classifier with the file that a compression has chosen for it."""

import hashlib

import keras
import numpy as np
import pytest

from kerasnas import ImageClassifier
from kerasnas.classifier_compression import ChosenFile
from kerasnas.cli import main
from kerasnas.errors import InvalidArgument


def test_a_chosen_file_stays_where_it_was_loaded_from(tmp_path):
    fitted = ImageClassifier()
    fitted.model_ = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    fitted.classes_, fitted.pixel_range_, fitted.best_hyperparameters_ = np.array([0, 1]), (0.0, 255.0), {}
    fitted.epochs_, fitted.history_, fitted.members_ = 1, {}, {}
    (tmp_path / "found.onnx").write_bytes(b"chosen")
    fitted._chosen = ChosenFile(fitted.model_, tmp_path / "found.onnx", "U8S8", hashlib.sha256(b"chosen").hexdigest())
    run = tmp_path / "run"
    fitted.save(run)
    for write in (ImageClassifier.write_files, ImageClassifier.save):
        (run / "chosen.tflite").write_bytes(b"of an earlier one")
        write(ImageClassifier.load(run), run)
        assert (run / "chosen.onnx").read_bytes() == b"chosen"
        assert ImageClassifier.load(run)._chosen.is_there
        assert not (run / "chosen.tflite").exists()
    fitted._chosen = None
    fitted.write_files(run)
    assert not (run / "chosen.onnx").exists()


def test_the_command_exports_what_a_compression_chose(tmp_path):
    fitted = ImageClassifier()
    net = [keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    fitted.model_ = keras.Sequential([keras.Input((4, 4, 1)), *net])
    fitted.classes_, fitted.pixel_range_, fitted.best_hyperparameters_ = np.array([0, 1]), (0.0, 255.0), {}
    fitted.epochs_, fitted.history_, fitted.members_ = 1, {}, {}
    fitted.export(tmp_path / "found.onnx")
    digest = hashlib.sha256((tmp_path / "found.onnx").read_bytes()).hexdigest()
    fitted._chosen = ChosenFile(fitted.model_, tmp_path / "found.onnx", "float32", digest)
    fitted.save(tmp_path / "small")
    assert main(["export", str(tmp_path / "small")]) == 0
    assert main(["verify", str(tmp_path / "small" / "chosen.onnx"), "--no-latency"]) == 0
    assert ImageClassifier.load(tmp_path / "small")._chosen.is_there


def test_a_litert_file_that_was_chosen_is_copied(tmp_path):
    rng = np.random.default_rng(0)
    fitted = ImageClassifier()
    net = [keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    fitted.model_ = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Rescaling(1 / 255), *net])
    fitted.classes_, fitted.pixel_range_ = np.array([0, 1]), (0.0, 255.0)
    file = fitted.export(
        tmp_path / "found.tflite", format="int8", calibration=rng.integers(0, 256, (40, 4, 4)), min_agreement=0.0
    )
    digest = hashlib.sha256(file.path.read_bytes()).hexdigest()
    fitted._chosen = ChosenFile(fitted.model_, file.path, "LiteRT int8", digest)
    copied = fitted.export(tmp_path / "copy.tflite")
    assert copied.path.read_bytes() == file.path.read_bytes()
    assert (copied.format, copied.labels, copied.operators) == ("int8", ("0", "1"), file.operators)
    assert fitted.export(tmp_path / "other.tflite", format="float32").format == "float32"
    with pytest.raises(InvalidArgument, match=r"ends in \.tflite, as the file that the search chose"):
        fitted.export(tmp_path / "other.onnx")

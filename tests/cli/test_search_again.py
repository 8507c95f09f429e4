"""A search given again on a finished run: what was made of its winner stays with that network, and goes with it."""

import json
import shutil

import keras
import numpy as np
import pytest

from kerasnas import ImageClassifier
from kerasnas.cli import main

_MADE = ("model.onnx", "model.json", "model-pruned.keras", "pruning.json", "verification.json", "report.html")
_FOLDERS = ("explanations", "compression", "path")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return what runs `kerasnas search` and ends with the network of a seed; the last run wrote files of its winner."""

    def search(seed, *, trials=2, more=()):
        def fit(self, *_, **__):
            keras.utils.set_random_seed(seed)
            stack = [keras.layers.Flatten(name="flat"), keras.layers.Dense(10, "softmax", name="digit")]
            self.model_ = keras.Sequential([keras.Input((8, 8, 1), name="image"), *stack], name="winner")
            self.classes_, self.pixel_range_ = np.arange(10), (0.0, 16.0)
            self.best_hyperparameters_, self.epochs_, self.history_, self._trials_ended = {}, 1, {}, trials
            return self

        monkeypatch.setattr(ImageClassifier, "fit", fit)
        return main(["search", "digits", "--out", str(tmp_path / "run"), "--quiet", *more])

    assert search(0) == 0
    for name in _MADE:
        (tmp_path / "run" / name).write_text('{"kerasnas_certificate": 1}' if name == "model.json" else "made")
    for name in _FOLDERS:
        (tmp_path / "run" / name).mkdir()
    return search


def _there(folder):
    return {name for name in (*_MADE, *_FOLDERS) if (folder / name).exists()}


@pytest.mark.parametrize(
    ("trials", "more", "gone"), [(2, (), set()), (3, (), {"report.html"}), (2, ("--overwrite",), {"report.html"})]
)
def test_what_was_made_of_the_same_winner_stays(run, tmp_path, capsys, trials, more, gone):
    capsys.readouterr()
    assert run(0, trials=trials, more=more) == 0
    assert _there(tmp_path / "run") == {*_MADE, *_FOLDERS} - gone
    assert ("removed report.html, which tells of the search before" in (said := capsys.readouterr().out)) == bool(gone)
    assert "earlier winner" not in said
    assert json.loads((tmp_path / "run" / "classifier.json").read_text())["trials_ended"] == trials


@pytest.mark.parametrize(("change", "stays"), [(1 + 1e-7, True), (1.1, False)])
def test_another_rounding_of_the_loss_is_no_other_winner(run, tmp_path, change, stays):
    path = tmp_path / "run" / "evaluation.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "loss": told["loss"] * change}))
    assert run(0) == 0
    assert _there(tmp_path / "run") == ({*_MADE, *_FOLDERS} if stays else set())


def test_what_was_made_of_another_winner_goes_and_is_told(run, tmp_path, capsys):
    assert run(1) == 0
    assert _there(tmp_path / "run") == set()
    said = capsys.readouterr().out
    assert "removed model.onnx, model-pruned.keras, pruning.json, report.html, verification.json, compression/" in said
    assert "explanations/, path/, made of an earlier winner" in said
    assert run(0) == 0
    assert "removed" not in capsys.readouterr().out  # nothing was made of it


@pytest.mark.parametrize("name", ["model.keras", "classifier.json", "evaluation.json"])
@pytest.mark.parametrize("damaged", [True, False])
def test_a_winner_that_cannot_be_read_is_taken_for_another(run, tmp_path, name, damaged):
    path = tmp_path / "run" / name
    path.write_text("[]") if damaged else path.unlink()
    assert run(0) == 0
    assert _there(tmp_path / "run") == set()


def test_a_winner_of_other_labels_or_judged_on_other_pictures_is_another(run, tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "run", kept)
    for name, key, other in (("classifier", "classes", list("abcdefghij")), ("evaluation", "samples", 1)):
        shutil.rmtree(tmp_path / "run")
        shutil.copytree(kept, tmp_path / "run")
        path = tmp_path / "run" / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: other}))
        assert run(0) == 0
        assert _there(tmp_path / "run") == set()


def test_files_of_an_earlier_network_are_told(tmp_path, capsys):
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "softmax")])
    network.save(tmp_path / "net.keras")
    command = ["export", str(tmp_path / "net.keras")]
    assert main([*command, "--litert", "float16"]) == 0
    assert main(command) == 0
    assert "other weights" not in capsys.readouterr().err  # the file beside it is of the same network
    network.set_weights([w + 1 for w in network.get_weights()])
    network.save(tmp_path / "net.keras")
    assert main(command) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "net-float16.tflite was made of other weights" in told
    assert "anew with --litert float16." in told
    assert main([*command, "--litert", "float16"]) == 0
    assert "other weights" not in capsys.readouterr().err
    (tmp_path / "net-quantized.onnx").write_bytes(b"no file of ours")
    (tmp_path / "net-float16.json").write_text('{"kerasnas_certificate": 1, "mo', "utf-8")
    assert main(command) == 0
    assert "other weights" not in capsys.readouterr().err

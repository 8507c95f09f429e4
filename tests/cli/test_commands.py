"""The command line: the whole way on a folder of pictures."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from PIL import Image

import kerasnas.cli
import kerasnas.cli.compress
import kerasnas.cli.explain
import kerasnas.cli.search
from kerasnas import ImageClassifier, NASTuner
from kerasnas.cli import main
from kerasnas.cli.run_folder import Run
from kerasnas.compress.kernels import prunable_kernels
from kerasnas.compression_search.network_files import LITERT
from kerasnas.errors import InvalidArgument
from kerasnas.explain import Attribution
from kerasnas.export.quantization_formats import FORMATS
from kerasnas.oracles.by_name import BY_NAME


def _read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_format_is_known_by_its_name():
    assert kerasnas.cli.compress.FORMATS == [*FORMATS, *LITERT]


def test_every_oracle_is_known_by_its_name():
    assert sorted(BY_NAME) == kerasnas.cli.search.ORACLES
    assert {cls.__name__ for cls in BY_NAME.values()} | {"StrategyOracle"} == set(kerasnas.oracles.__all__)
    assert BY_NAME["auto"] is kerasnas.oracles.DynaOracle


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["export", "-h"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments):
    heavy = ["tensorflow", "keras", "keras_tuner", "numpy", "matplotlib", "sklearn"]
    code = (
        f"import sys\nfrom kerasnas.cli import main\ncode = main({arguments!r})\n"
        f"print('loaded', [m for m in {heavy} if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded [] 0"
    assert ("Usage: kerasnas" in done.stdout) == (arguments != ["--version"])
    assert done.stderr == ""


# -- the whole way --


@pytest.mark.slow
def test_search(run, squares):
    names = {path.name for path in run.iterdir()}
    assert {"run.json", "evaluation.json", "structure.json", "classifier.json", "model.keras", "search"} <= names
    assert _read(run / "run.json") == {
        "data": str(squares), "name": squares.name, "limit": None, "image_size": None,
        "train": 48, "test": 12, "shape": [12, 12, 1],
    }  # fmt: skip
    evaluation = _read(run / "evaluation.json")
    confusion = np.asarray(evaluation["confusion"])
    assert confusion.sum() == evaluation["samples"] == 12
    assert np.trace(confusion) / 12 == pytest.approx(evaluation["accuracy"])
    assert [row["label"] for row in evaluation["classes"]] == ["left", "right"]
    assert evaluation["majority_accuracy"] == 0.5
    model = keras.models.load_model(run / "model.keras")
    assert sum(row["parameters"] for row in _read(run / "structure.json")) == model.count_params()


@pytest.mark.slow
def test_the_same_command_resumes(search, run, monkeypatch):
    (run / "model-quantized.onnx").write_text("made of the winner, which stays the same")
    before = (run / "evaluation.json").read_text()
    monkeypatch.setattr(NASTuner, "run_trial", lambda *args, **kwargs: pytest.fail("a trial was run again"))
    assert main(search) == 0
    assert (run / "evaluation.json").read_text() == before
    (run / "model-quantized.onnx").unlink()  # removed, were the winner another


@pytest.mark.slow
def test_explain_compress_export_report(run, capsys):
    assert main(["explain", str(run), "--images", "4"]) == 0
    explanations = _read(run / "explanations" / "explanations.json")
    assert len(explanations["pictures"]) == 4
    trust = _read(run / "explanations" / "trust.json")
    (second,) = set(trust) - {"occlusion"}
    assert second in ("grad_cam", "integrated_gradients")
    for entry in explanations["pictures"]:
        assert set(entry["files"]) == {"picture", "occlusion", second}
        for name in filter(None, entry["files"].values()):
            with Image.open(run / "explanations" / name) as picture:
                picture.verify()
    assert "occlusion: " in (printed := capsys.readouterr().out)
    for name in (
        "structure.svg", "weights.png", "filters.png", "activations.png", "classes.png", "layers.png", "places.png",
        "confusion.png", "regions.png",
    ):  # fmt: skip
        assert (run / "explanations" / name).stat().st_size > 1000
        assert name in printed
    measures = _read(run / "explanations" / "measures.json")
    assert measures["parameters_count"] == keras.models.load_model(run / "model.keras").count_params()
    assert {f"{second}_gini_mean", "occlusion_mu_fidelity_mean"} <= set(measures)
    more = run.parent / "more"
    assert main(["explain", str(run), "--method", "rise", "--images", "2", "--no-trust", "--out", str(more)]) == 0
    assert {entry.name for entry in (more / "explanations").glob("rise*")} == {"rise.png"}
    assert _read(more / "explanations" / "trust.json") == {}
    assert main(["explain", str(run), "--method", "magic"]) == 2
    assert "one of grad_cam" in capsys.readouterr().err

    assert main(["compress", str(run), "--epochs", "1", "--sparsity", "0.6"]) == 0
    pruning = _read(run / "pruning.json")
    assert pruning["sparsity"] > 0.5 > pruning["sparsity_before"]
    for name, share in (("model.keras", pruning["sparsity_before"]), ("model-pruned.keras", pruning["sparsity"])):
        kernels = [np.asarray(k.variable) for k in prunable_kernels(keras.models.load_model(run / name))]
        assert sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels) == pytest.approx(share)

    capsys.readouterr()
    assert main(["export", str(run)]) == 0
    printed = capsys.readouterr().out
    rows = _read(run / "verification.json")["files"]
    assert [row["file"] for row in rows] == ["model.onnx", "model-pruned.onnx"]
    for row in rows:
        assert row["verification"]["passed"]
        assert row["file"] in printed
        certificate = _read(run / row["certificate"])
        assert certificate["file"]["name"] == row["file"]
        assert certificate["accuracy"] == {"file": row["accuracy"], "model": row["keras_accuracy"], "samples": 12}
        trial = certificate["provenance"]["trial_id"]
        assert certificate["provenance"]["trial"] == int(trial) + 1
        assert certificate["provenance"]["search"] == f"{run.name}/search"
        state = _read(next((run / "search").glob(f"trial_{trial}/trial.json")))
        assert certificate["provenance"]["hyperparameters"].items() <= state["hyperparameters"]["values"].items()
        assert certificate["provenance"]["score"] == state["score"]
        assert main(["verify", str(run / row["file"]), "--no-latency"]) == 0
        assert row["latency"]["size_bytes"] == (run / row["file"]).stat().st_size
        assert row["accuracy"] == pytest.approx(row["keras_accuracy"])
    assert _read(run / "model.json")["compression"] == []
    assert _read(run / "model-pruned.json")["compression"] == [{"method": "prune", **pruning}]
    assert rows[0]["accuracy"] == pytest.approx(_read(run / "evaluation.json")["accuracy"])
    assert rows[0]["drift"]["rank_correlation"] > 0.999  # the same network
    assert rows[0]["drift"]["same_class"] == 1
    assert rows[1]["drift"]["rank_correlation"] < rows[0]["drift"]["rank_correlation"]

    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    for name in ("model.onnx", "model-pruned.onnx", "left", "right", "data:image/png;base64,"):
        assert name in page


@pytest.mark.slow
def test_compress_for_a_goal_and_by_channels(run, tmp_path, capsys):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    for name in ("model-pruned.keras", "pruning.json"):
        (copied / name).unlink(missing_ok=True)
    search = ["compress", str(copied), "--goal", "smallest", "--max-loss", "1", "--max-trials", "1", "--epochs", "1"]
    assert main(search) == 0
    printed = capsys.readouterr().out
    for text in ("trial 1/1", "original, float32", "times smaller", "6 test samples", "from scratch", "model-compressed.onnx"):
        assert text in printed
    told = _read(copied / "compression.json")
    chosen = told["rows"][told["chosen"]]
    assert chosen["size_bytes"] == (copied / "model-compressed.onnx").stat().st_size
    assert main(["verify", str(copied / "model-compressed.onnx")]) == 0
    certified = _read(copied / "model-compressed.json")
    assert certified["file"]["name"] == "model-compressed.onnx"
    small = keras.models.load_model(copied / "model-compressed.keras")
    assert small.count_params() == chosen["parameters"] < keras.models.load_model(copied / "model.keras").count_params()
    assert main([*search, "--max-trials", "1"]) == 0
    assert "Resuming after 1 trial" in capsys.readouterr().out

    assert main(["export", str(copied)]) == 0
    rows = {row["file"]: row for row in _read(copied / "verification.json")["files"]}
    assert set(rows) == {"model.onnx", "model-compressed.onnx"}
    assert rows["model-compressed.onnx"]["latency"]["size_bytes"] == chosen["size_bytes"]
    assert rows["model-compressed.onnx"].get("format", "float32") == chosen["format"]
    # Half of the test pictures chose the file: its certificate is about the others, before and after the export.
    assert certified["accuracy"]["samples"] == 6
    assert certified["accuracy"]["original"] == told["test"]["original"]
    again = _read(copied / "model-compressed.json")
    assert again["accuracy"] == certified["accuracy"]
    assert (rows["model-compressed.onnx"]["accuracy"], rows["model-compressed.onnx"]["samples"]) == (
        certified["accuracy"]["file"],
        6,
    )
    assert again["measured"] == certified["measured"]
    assert again["created"] >= certified["created"]
    assert main(["report", str(copied)]) == 0
    written = (copied / "model-compressed.onnx").read_bytes()
    shutil.copy(copied / "model.onnx", copied / "model-compressed.onnx")  # not what was chosen
    capsys.readouterr()
    assert main(["export", str(copied)]) == 2
    assert "changed or replaced since" in " ".join(capsys.readouterr().err.split())
    (copied / "model-compressed.onnx").write_bytes(written)
    assert main(["export", str(copied / "model-compressed.keras")]) == 2
    assert "without model-compressed.onnx, the file that was chosen" in " ".join(capsys.readouterr().err.split())
    assert (copied / "model-compressed.onnx").read_bytes() == written
    assert main(["export", str(copied / "model-compressed.keras"), "--out", str(tmp_path / "float")]) == 0
    page = (copied / "report.html").read_text(encoding="utf-8")
    assert "How small and how fast it can be made" in page
    assert f"network 1, {chosen['format']}" in page

    out = tmp_path / "out"
    channels = ["compress", str(copied), "--channels", "0.5", "--epochs", "1", "--no-control", "--out", str(out)]
    assert main(channels) == 0
    told = _read(out / "compression.json")
    assert told["rows"][told["chosen"]]["format"] == "float32"
    assert told["settings"]["ratio"] == 0.5
    assert told["control"] is None
    capsys.readouterr()
    assert main([*search[:3], "most-accurate", "--smaller", "1000", "--max-trials", "0", "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert "KEEPS THE BOUNDS" in captured.out
    assert "replaces the file made for pruning by ratio 0.5" in captured.out
    assert "no file keeps the bounds" in captured.err
    lite = ["compress", str(copied), "--goal", "smallest", "--max-loss", "1", "--max-trials", "0", "--overwrite"]
    assert main([*lite, "--format", "LiteRT int8", "--out", str(out)]) == 0
    assert "wrote" in (printed := capsys.readouterr().out)
    assert "model-compressed.tflite" in printed
    assert {path.name for path in out.glob("*compressed*")} == {
        "model-compressed.keras", "model-compressed.tflite", "model-compressed.tflite.json",
    }  # fmt: skip
    assert _read(out / "model-compressed.tflite.json")["file"]["name"] == "model-compressed.tflite"
    assert main(["verify", str(out / "model-compressed.tflite"), "--no-latency"]) == 0
    assert main(["export", str(copied), "--out", str(out)]) == 0
    rows = {row["file"]: row for row in _read(out / "verification.json")["files"]}
    assert rows["model-compressed.tflite"]["format"] == "int8"
    within = ["compress", str(copied), "--macs", "1e12", "--epochs", "1", "--out", str(out)]
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert main(within) == 2
    assert "model-compressed.tflite, which --goal" in " ".join(capsys.readouterr().err.split())
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert main([*within, "--overwrite"]) == 0
    captured = capsys.readouterr()
    assert "within the target already" in captured.out
    assert "Warning" not in captured.err


@pytest.mark.slow
def test_a_bare_keras_file_with_data(run, squares, tmp_path):
    model = tmp_path / "mine.keras"
    model.write_bytes((run / "model.keras").read_bytes())
    for command in ("explain", "compress", "export"):
        assert main([command, str(model), "--data", str(squares), "--out", str(tmp_path / "out")]) == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"explanations", "mine-pruned.keras", "mine.onnx", "mine-pruned.onnx", "verification.json"} <= made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.keras", "out"]


@pytest.mark.slow
def test_a_file_of_a_run_is_exported_with_what_the_run_knows(run, tmp_path):
    copied = tmp_path / "run"
    copied.mkdir()
    for name in ("classifier.json", "model.keras", "run.json"):
        shutil.copy(run / name, copied)
    shutil.copy(run / "model.keras", copied / "model-pruned.keras")
    shutil.copy(run / "model.keras", copied / "other.keras")
    assert Run.open(copied / "other.keras", data=None, image_size=None, out=None).is_bare
    for name in ("model", "model-pruned"):
        assert main(["export", str(copied / f"{name}.keras"), "--out", str(tmp_path / name)]) == 0
        facts = {entry.key: entry.value for entry in onnx.load(tmp_path / name / f"{name}.onnx").metadata_props}
        assert json.loads(facts["labels"]) == ["left", "right"]
        assert json.loads(facts["preprocessing"])["range"] == [0, 255]
        assert _read(tmp_path / name / "verification.json")["files"][0]["samples"] == 12


@pytest.mark.slow
def test_a_new_search_leaves_no_results_of_the_old_winner(search, run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    names = (
        "model-pruned.keras",
        "pruning.json",
        "compression.json",
        "verification.json",
        "report.html",
        "model-quantized.onnx",
    )
    for name in names:
        (copied / name).write_text("old")
    (copied / "model-quantized.json").write_text('{"kerasnas_certificate": 1}')
    (copied / "model-notes.json").write_text("mine")
    (copied / "explanations").mkdir(exist_ok=True)
    arguments = [str(copied) if part == str(run) else part for part in search]
    assert main([*arguments, "--overwrite", "--seed", "1"]) == 0
    assert {path.name for path in copied.iterdir()} == {
        "run.json", "evaluation.json", "structure.json", "classifier.json", "model.keras", "search", "model-notes.json",
    }  # fmt: skip


@pytest.mark.slow
def test_results_elsewhere_keep_the_pruned_model(run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    shutil.copy(copied / "model.keras", copied / "model-pruned.keras")
    assert main(["export", str(copied), "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.onnx", "model.json", "model-pruned.onnx", "model-pruned.json", "verification.json",
    }  # fmt: skip


def test_the_worth_of_layers_is_told_only_where_a_path_leads_around_one(tmp_path):
    start = keras.Input((4, 4, 2))
    one = keras.layers.Conv2D(2, 3, padding="same", name="one")(start)
    x, y = np.random.default_rng(0).random((20, 4, 4, 2), "float32"), np.arange(20) % 3
    for inner, told in ((one, False), (keras.layers.Add()([one, start]), True)):
        network = keras.Model(start, keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(inner)))
        if told:
            assert len(kerasnas.cli.explain._worth_of_layers(network, x, y).rows) > 1
        else:
            with pytest.raises(InvalidArgument, match="the same for each"):
                kerasnas.cli.explain._worth_of_layers(network, x, y)


def test_the_structure_is_drawn_without_times_where_layers_cannot_be_run_one_by_one(capsys):
    one, other = keras.Input((4, 4, 2)), keras.Input((4, 4, 2))
    both = keras.Model([one, other], keras.layers.ReLU()(keras.layers.Add()([one, other])), name="both")
    start = keras.Input((4, 4, 2))
    flat = keras.layers.Flatten()(both([start, keras.layers.Conv2D(2, 1, name="conv")(start)]))
    network = keras.Model(start, keras.layers.Dense(3, "softmax", name="scores")(flat))
    drawn = kerasnas.cli.explain._structure(network, np.ones((2, 4, 4, 2), "float32"))
    assert {"conv", "scores"} <= {row.path for row in drawn.rows}
    assert "no times in structure.svg" in capsys.readouterr().out


def test_a_network_that_is_replaced_leaves_no_exported_file(tmp_path, capsys):
    for name in ("m-pruned.onnx", "m-pruned-int8.tflite", "m.onnx", "m-compressed.onnx"):
        (tmp_path / name).write_text("old")
    rows = [{"file": name} for name in ("m.onnx", "m-pruned.onnx", "m-pruned-int8.tflite", "m-compressed.onnx")]
    (tmp_path / "verification.json").write_text(json.dumps({"files": rows}))
    run = Run(tmp_path, tmp_path / "m.keras", ImageClassifier(), None)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    run.save_model(network, "m-pruned.keras")
    assert "removed m-pruned-int8.tflite, m-pruned.onnx" in capsys.readouterr().out
    run.forget_exported("m-compressed", keep="m-compressed.onnx")
    assert capsys.readouterr().out == ""
    assert {path.name for path in tmp_path.iterdir()} == {
        "m.onnx", "m-compressed.onnx", "m-pruned.keras", "verification.json",
    }  # fmt: skip
    assert _read(tmp_path / "verification.json") == {"files": [{"file": "m.onnx"}]}


@pytest.mark.parametrize("empty", [True, False])
def test_integrated_gradients_stand_in_for_maps_that_mark_nothing(empty, capsys):
    class Classifier:
        def explain(self, images, *, method):
            values = np.zeros((2, 3, 3)) if method == "grad_cam" and empty else np.arange(18.0).reshape(2, 3, 3)
            return Attribution(values, images, np.zeros(2, int), method)

    images = np.ones((2, 3, 3, 1))
    made = [maps.method for maps, _ in kerasnas.cli.explain._maps(Classifier(), images, (), False)]
    assert made == ["occlusion", "integrated_gradients" if empty else "grad_cam"]
    assert ("grad_cam marks nothing in most pictures here" in capsys.readouterr().out) == empty
    # What is asked for by name is what comes.
    asked = [maps.method for maps, _ in kerasnas.cli.explain._maps(Classifier(), images, ("grad_cam",), False)]
    assert asked == ["grad_cam"]

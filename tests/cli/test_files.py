"""Files out of a bare network on the command line: exported, in fewer bits, compressed."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits

import kerasnas.cli.explain
import kerasnas.explain
import kerasnas.export
from kerasnas import ImageClassifier
from kerasnas.cli import export, main
from kerasnas.cli.export_table import print_table
from kerasnas.cli.run_folder import Run, remove_results
from kerasnas.compress.kernels import prunable_kernels
from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.explain import Attribution
from kerasnas.export import Certificate, Quantization, QuantizationCandidate


def _read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_bare_keras_file_without_data_gets_no_invented_facts(tmp_path, capsys):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "softmax")])
    network.save(tmp_path / "table.keras")
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]).save(tmp_path / "other-pruned.keras")
    assert main(["export", str(tmp_path / "table.keras")]) == 0
    assert "say nothing of labels and pixel values" in capsys.readouterr().out
    facts = {entry.key for entry in onnx.load(tmp_path / "table.onnx").metadata_props}
    assert not {"labels", "preprocessing"} & facts
    assert not (tmp_path / "table-pruned.onnx").exists()
    certificate = Certificate.load(tmp_path / "table.json")
    assert (certificate.accuracy, certificate.labels, certificate.preprocessing) == (None, None, None)
    assert certificate.provenance == {"model": "table.keras"}


@pytest.mark.filterwarnings("ignore:The original gets:UserWarning")  # it is not trained
def test_export_in_fewer_bits(tmp_path, capsys):
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 16), *hidden]).save(tmp_path / "net.keras")
    command = ["export", str(tmp_path / "net.keras"), "--data", "digits", "--opset", "15"]
    assert main([*command, "--quantize", "size"]) == 0
    plain, small = _read(tmp_path / "verification.json")["files"]
    assert (plain["file"], small["file"]) == ("net.onnx", "net-quantized.onnx")
    assert small["latency"]["size_bytes"] == (tmp_path / "net-quantized.onnx").stat().st_size
    assert small["latency"]["size_bytes"] < 0.6 * plain["latency"]["size_bytes"]
    assert min(small["verification"]["top1_agreement"].values()) >= 0.9
    assert f"net-quantized.onnx: {small['format']} is the smallest" in (printed := " ".join(capsys.readouterr().out.split()))
    assert "its certificate net-quantized.json" in printed
    assert "always guessing the commonest class" in printed
    (step,) = Certificate.load(tmp_path / "net-quantized.json").compression
    assert (step["method"], step["goal"], step["calibration_samples"]) == ("quantize", "size", 300)
    assert Certificate.load(tmp_path / "net.json").file["opset"] == 15
    assert main(command) == 0  # what an earlier command made is still there, and still what it was
    assert main(["verify", str(tmp_path / "net-quantized.onnx"), "--no-latency"]) == 0


@pytest.fixture(scope="module")
def digits_net(tmp_path_factory) -> Path:
    """A dense network for digits, trained a little."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 16), *hidden])
    net.compile("adam", "sparse_categorical_crossentropy")
    digits = load_digits()
    net.fit(digits.images[..., None], digits.target, epochs=3, verbose=0)
    net.save(path := tmp_path_factory.mktemp("net") / "net.keras")
    return path


def test_the_table_of_files_is_whole_in_120_columns(capsys):
    figures = {"size_bytes": 43_900, "gzip_bytes": 38_500, "median_ms": 0.0089}
    row = {
        "file": "model-compressed-int8.tflite", "accuracy": 0.9833, "parameters": 1_210_074, "sparsity": 0.5, "samples": 360,
        "latency": figures, "verification": {"max_abs_difference": {"y": 2.3e-02}}, "drift": {"rank_correlation": 0.97},
    }  # fmt: skip
    print_table([row])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 120
    for word in ("accuracy", "parameters", "weights", "gzip", "latency", "difference", "from Keras", "maps", "1,210,074"):
        assert word in printed
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed
    assert sum(line.rstrip().endswith("\N{BOX DRAWINGS LIGHT VERTICAL}") for line in printed.splitlines()) == 1
    assert "43.9" in printed
    assert "on 360 test pictures" in printed
    print_table([row, row | {"file": "model-compressed.onnx", "samples": 180}])
    printed = " ".join(capsys.readouterr().out.split())
    assert "on 360 test pictures, model-compressed.onnx on the 180 that chose nothing" in printed
    print_table([row | {"drift": {"rank_correlation": None}}])  # all maps are blank
    assert re.search(r"2\.3e-02 \S +- ", capsys.readouterr().out)
    print_table([row | {"accuracy": None, "samples": None, "drift": None}])
    assert not {"accuracy", "maps", "pictures"} & set(capsys.readouterr().out.split())


def test_export_to_litert(digits_net, tmp_path, capsys):
    shutil.copy(digits_net, tmp_path)
    command = ["export", str(tmp_path / "net.keras"), "--litert", "int8"]
    assert main(command) == 2
    assert "Pass --data" in capsys.readouterr().err
    assert main([*command, "--litert", "float16", "--data", "digits"]) == 0
    plain, small, half = _read(tmp_path / "verification.json")["files"]
    assert (small["file"], half["file"]) == ("net-int8.tflite", "net-float16.tflite")
    for row in (small, half):
        assert row["latency"]["size_bytes"] == (tmp_path / row["file"]).stat().st_size
        assert row["latency"]["runtime"].startswith("LiteRT")
        assert row["accuracy"] == pytest.approx(plain["accuracy"], abs=0.02)
        assert row["drift"]["same_class"] == 1
        assert row["drift"]["rank_correlation"] > 0.8
        assert main(["verify", str(tmp_path / row["file"]), "--no-latency"]) == 0
    assert small["latency"]["size_bytes"] < half["latency"]["size_bytes"] < plain["latency"]["size_bytes"]
    assert "net-int8.tflite and its certificate net-int8.tflite.json" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("known", [True, False])
def test_a_model_of_whole_pixels_is_exported_whether_or_not_its_maps_can_be_had(known, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), *stack]).save(tmp_path / "whole.keras")
    if not known:

        def refuses(*_):
            raise InvalidArgument("Expected another file.")

        monkeypatch.setattr(kerasnas.explain, "drift", refuses)
    assert main(["export", str(tmp_path / "whole.keras"), "--data", "digits"]) == 0
    (row,) = _read(tmp_path / "verification.json")["files"]
    assert (row["drift"]["rank_correlation"] > 0.9) if known else (row["drift"] is None)
    assert main(["verify", str(tmp_path / "whole.onnx"), "--no-latency"]) == 0


@pytest.mark.parametrize("kind", [ExportMismatch, KerasNASError])
def test_a_format_that_cannot_be_kept_leaves_the_others_certified(kind, digits_net, tmp_path, capsys, monkeypatch):
    whole = export._to_litert

    def fails(run, variant, format):
        if format == "int8":
            raise kind("It loses too much.")
        return whole(run, variant, format)

    monkeypatch.setattr(export, "_to_litert", fails)
    shutil.copy(digits_net, tmp_path)
    command = ["export", str(tmp_path / "net.keras"), "--data", "digits", "--litert", "int8", "--litert", "float16"]
    assert main(command) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "It loses too much. What could be written and certified: net.onnx, net-float16.tflite." in said
    for name in ("net.onnx", "net-float16.tflite"):
        assert main(["verify", str(tmp_path / name), "--no-latency"]) == 0


def test_what_a_failure_left_as_it_was_keeps_its_row(digits_net, tmp_path):
    shutil.copy(digits_net, tmp_path)
    command = ["export", str(tmp_path / "net.keras"), "--data", "digits"]
    assert main(command) == 0
    (before,) = _read(tmp_path / "verification.json")["files"]
    assert main([*command, "--atol", "1e-30", "--litert", "float32"]) == 1
    assert main(["verify", str(tmp_path / "net.onnx"), "--no-latency"]) == 0
    rows = _read(tmp_path / "verification.json")["files"]
    assert [row["file"] for row in rows] == ["net.onnx", "net-float32.tflite"]
    assert rows[0] == before


def test_a_network_whose_file_differs_leaves_the_others_certified(digits_net, tmp_path, capsys, monkeypatch):
    whole = export._to_onnx

    def fails(run, variant, **settings):
        if variant.name == "net-pruned":
            raise ExportMismatch("It differs.")
        return whole(run, variant, **settings)

    monkeypatch.setattr(export, "_to_onnx", fails)
    for name in ("net", "net-pruned"):
        shutil.copy(digits_net, tmp_path / f"{name}.keras")
    command = ["export", str(tmp_path / "net.keras")]
    assert main(command) == 1
    assert "It differs. What could be written and certified: net.onnx." in " ".join(capsys.readouterr().err.split())
    assert main(["verify", str(tmp_path / "net.onnx"), "--no-latency"]) == 0
    (tmp_path / "net.keras").rename(tmp_path / "net-pruned.keras")
    assert main(["export", str(tmp_path / "net-pruned.keras")]) == 1
    assert "error: It differs.\n" in capsys.readouterr().err


def test_a_pruned_network_by_itself_keeps_its_history_and_the_rows_of_others(digits_net, tmp_path):
    shutil.copy(digits_net, tmp_path)
    net = keras.models.load_model(tmp_path / "net.keras")
    kernel = net.layers[2].kernel
    kernel.assign(np.where(np.abs(kernel.numpy()) < np.median(np.abs(kernel.numpy())), 0, kernel.numpy()))
    net.save(tmp_path / "net-pruned.keras")
    (tmp_path / "net-pruning.json").write_text('{"sparsity": 0.5}')
    for name in ("net.onnx", "net-pruned.onnx"):
        (tmp_path / name).write_text("of an earlier command")
    rows = [{"file": name} for name in ("net.onnx", "net-pruned.onnx", "net-clustered.onnx")]  # the last one is gone
    (tmp_path / "verification.json").write_text(json.dumps({"files": rows}))
    assert main(["export", str(tmp_path / "net-pruned.keras"), "--data", "digits"]) == 0
    (step,) = Certificate.load(tmp_path / "net-pruned.json").compression
    assert (step["method"], step["sparsity"]) == ("prune", 0.5)
    other, pruned = _read(tmp_path / "verification.json")["files"]
    assert (other, pruned["file"]) == ({"file": "net.onnx"}, "net-pruned.onnx")
    assert 0 < pruned["drift"]["rank_correlation"] < 0.999  # from the maps of net.keras, not from its own
    (tmp_path / "net-clustered.keras").write_bytes((tmp_path / "net-pruned.keras").read_bytes())
    (tmp_path / "net-clustering.json").write_text('{"clusters": 8, "pruning": {"method": "prune"}}')
    (only,) = Run.open(tmp_path / "net-clustered.keras", data=None, image_size=None, out=None).variants()
    assert only.compression == ({"method": "prune"}, {"method": "cluster", "clusters": 8})
    (tmp_path / "net-clustering.json").unlink()  # it only bears the name
    named = Run.open(tmp_path / "net-clustered.keras", data=None, image_size=None, out=None)
    assert named.uncompressed() is named.classifier
    assert [row["file"] for row in named.other_rows([], failed=False)] == ["net.onnx", "net-pruned.onnx"]
    assert named.compression_search.name == "net-clustered-compression"


def test_what_a_search_chose_is_not_replaced_unasked(digits_net, tmp_path, capsys):
    shutil.copy(digits_net, tmp_path)
    (tmp_path / "net-compressed.onnx").write_text("chosen")
    (tmp_path / "net-compression.json").write_text('{"goal": {"best": "most accurate"}, "path": "net-compressed.onnx"}')
    assert main(["compress", str(tmp_path / "net.keras"), "--data", "digits", "--channels", "0.5"]) == 2
    assert "net-compressed.onnx, which --goal most-accurate made. Pass --overwrite" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"net.keras", "net-compressed.onnx", "net-compression.json"}


@pytest.mark.parametrize("told", ["{", "[]", '{"goal": {"best": "smallest"}}', '{"goal": 3, "path": "net-compressed.onnx"}'])
def test_a_table_that_cannot_be_read_protects_nothing(digits_net, tmp_path, capsys, monkeypatch, told):
    def begun(run, **settings):
        raise InvalidArgument("It begins.")

    monkeypatch.setattr("kerasnas.cli.compress.prune_channels", begun)
    shutil.copy(digits_net, tmp_path)
    (tmp_path / "net-compression.json").write_text(told)
    assert main(["compress", str(tmp_path / "net.keras"), "--data", "digits", "--channels", "0.5"]) == 2
    assert "It begins." in capsys.readouterr().err


def test_training_that_is_refused_leaves_no_file(tmp_path, capsys):
    hidden = [keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.LayerNormalization(name="odd")]
    keras.Sequential([keras.Input((8, 8, 1)), *hidden, keras.layers.Dense(10, "softmax")]).save(tmp_path / "net.keras")
    assert main(["export", str(tmp_path / "net.keras"), "--data", "digits", "--litert", "int8", "--train"]) == 2
    assert "'odd' (LayerNormalization) is not supported there" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["net.keras"]


@pytest.mark.slow
def test_patterns_clusters_and_training_for_8_bits(digits_net, tmp_path, capsys):
    shutil.copy(digits_net, tmp_path)
    net = [str(tmp_path / "net.keras"), "--data", "digits"]
    assert main(["compress", *net, "--pattern", "2:4", "--clusters", "8", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    for text in ("50% of the prunable kernel weights are zero", "at most 8 values", "net-pruned.keras", "net-clustered.keras"):
        assert text in printed
    pruning, clustering = _read(tmp_path / "net-pruning.json"), _read(tmp_path / "net-clustering.json")
    assert (pruning["pattern"], clustering["clusters"]) == ("2:4", 8)
    assert clustering["pruning"] == {"method": "prune", **pruning}
    assert clustering["gzip_bytes"] < clustering["gzip_bytes_before"] == pruning["gzip_bytes"] < pruning["gzip_bytes_before"]
    for name, values in (("pruned", 64 * 64), ("clustered", 8)):
        for _, kernel in prunable_kernels(keras.models.load_model(tmp_path / f"net-{name}.keras")):
            kernel = kernel.numpy()
            assert ((kernel.reshape(-1, 4, kernel.shape[-1]) == 0).sum(axis=1) >= 2).all()
            assert len(np.unique(kernel)) <= values

    assert main(["export", *net, "--litert", "int8", "--train"]) == 0, capsys.readouterr().err
    rows = {row["file"]: row for row in _read(tmp_path / "verification.json")["files"]}
    names = ("net", "net-pruned", "net-clustered")
    assert set(rows) == {f"{name}{end}" for name in names for end in (".onnx", "-int8.tflite")}
    trained = [Certificate.load(tmp_path / rows[f"{name}-int8.tflite"]["certificate"]).compression for name in names]
    assert [[step["method"] for step in steps] for steps in trained] == [
        ["quantize"], ["prune", "quantize"], ["prune", "cluster", "quantize"],
    ]  # fmt: skip
    assert [steps[-1].get("quantization_aware_training") for steps in trained] == [True, True, None]
    assert "would undo its clusters" in rows["net-clustered-int8.tflite"]["reason"]
    assert rows["net-int8.tflite"]["accuracy"] >= rows["net.onnx"]["accuracy"] - 0.01
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "in the pattern 2:4" in page
    assert "at most 8 values in each kernel of the pruned network" in page
    capsys.readouterr()
    assert main(["compress", *net, "--sparsity", "0.3", "--epochs", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "removed net-clustered-int8.tflite, net-clustered.onnx" in printed
    assert "removed net-clustered.keras, made of the earlier net-pruned" in printed
    assert not [path.name for path in tmp_path.glob("*cluster*")]


def test_a_file_that_is_not_better_in_fewer_bits(tmp_path, capsys, monkeypatch):
    def keep(file, *_, **__):
        chosen = QuantizationCandidate("float32", 1, 1, 1.0, 1.0, 0.0, None, 0.0, {}, "", ())
        return Quantization(Path(file.path), chosen, (chosen,), "latency", 0.01, "float32 is the fastest.", "X", 1, 1, "1")

    monkeypatch.setattr(kerasnas.export, "quantize", keep)
    keras.utils.set_random_seed(0)
    network = [keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    keras.Sequential([keras.Input((8, 8, 1)), *network]).save(tmp_path / "net.keras")
    (tmp_path / "net-quantized.onnx").write_text("of an earlier command")
    assert main(["export", str(tmp_path / "net.keras"), "--data", "digits", "--quantize"]) == 0
    assert [row["file"] for row in _read(tmp_path / "verification.json")["files"]] == ["net.onnx"]
    assert "net.onnx: Not quantised: float32 is the fastest." in capsys.readouterr().out
    assert not (tmp_path / "net-quantized.onnx").exists()


@pytest.mark.slow
def test_two_networks_in_a_folder_keep_their_own_figures(digits_net, tmp_path):
    for name, sparsity in (("a", "0.5"), ("b", "0.9")):
        shutil.copy(digits_net, tmp_path / f"{name}.keras")
        assert (
            main(["compress", str(tmp_path / f"{name}.keras"), "--data", "digits", "--sparsity", sparsity, "--epochs", "1"])
            == 0
        )
    for name in "ba":
        assert main(["export", str(tmp_path / f"{name}.keras"), "--data", "digits"]) == 0
    files = [row["file"] for row in _read(tmp_path / "verification.json")["files"]]
    assert files == ["b.onnx", "b-pruned.onnx", "a.onnx", "a-pruned.onnx"]
    (step,) = _read(tmp_path / "a-pruned.json")["compression"]
    assert step["sparsity"] == _read(tmp_path / "a-pruning.json")["sparsity"] == pytest.approx(0.5, abs=0.02)
    assert _read(tmp_path / "b-pruning.json")["sparsity"] == pytest.approx(0.9, abs=0.02)


def test_a_file_that_cannot_be_certified_goes_and_the_others_stay(digits_net, tmp_path, capsys, monkeypatch):
    original = kerasnas.export.certify

    def strict(file, **settings):
        if str(getattr(file, "path", file)).endswith("float16.tflite"):
            raise ExportMismatch("It agrees too seldom.")
        return original(file, **settings)

    monkeypatch.setattr(kerasnas.export, "certify", strict)
    shutil.copy(digits_net, tmp_path / "net.keras")
    formats = ["--litert", "float16", "--litert", "float32"]
    assert main(["export", str(tmp_path / "net.keras"), "--data", "digits", *formats]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "It agrees too seldom. What could be written and certified: net.onnx, net-float32.tflite." in said
    assert not (tmp_path / "net-float16.tflite").exists()
    assert [row["file"] for row in _read(tmp_path / "verification.json")["files"]] == ["net.onnx", "net-float32.tflite"]


def test_what_begins_with_the_name_of_a_network_that_is_replaced_stays(tmp_path):
    names = {"m-pruned-v2.onnx", "m-pruned-v2.json", "m-pruned-v2-int8.tflite", "m1.onnx", "m[1].onnx"}
    for name in names:
        (tmp_path / name).write_text("of another")
    run = Run(tmp_path, tmp_path / "m.keras", ImageClassifier(), None)
    run.forget_exported("m-pruned")
    run.forget_exported("m[1]")
    assert {path.name for path in tmp_path.iterdir()} == names - {"m[1].onnx"}


def test_what_stands_in_for_grad_cam_is_made_once(capsys):
    asked = []

    class Classifier:
        def explain(self, images, *, method):
            asked.append(method)
            if method == "grad_cam":
                raise InvalidArgument("Expected feature maps.")
            return Attribution(np.zeros((2, 3, 3)), images, np.zeros(2, int), method)

    made = [maps.method for maps, _ in kerasnas.cli.explain._maps(Classifier(), np.ones((2, 3, 3, 1)), (), False)]
    assert made == ["occlusion", "integrated_gradients"]
    assert asked == ["occlusion", "grad_cam", "integrated_gradients"]
    assert "grad_cam marks nothing" not in capsys.readouterr().out


def test_explanations_of_another_network_of_a_run_are_not_those_of_the_winner(tmp_path, monkeypatch):
    monkeypatch.setattr(kerasnas.cli.explain, "_maps", lambda *_: iter(()))
    monkeypatch.setattr(kerasnas.cli.explain, "_look_inside", lambda *_: [])
    monkeypatch.setattr(kerasnas.explain, "interpretability", lambda *_, **__: {})
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    network.save(tmp_path / "model-pruned.keras")
    command = ["explain", str(tmp_path / "model-pruned.keras"), "--data", "digits"]
    assert main(command) == 0
    assert (tmp_path / "explanations").is_dir()  # of the only network here
    network.save(tmp_path / "other.keras")
    assert main(["explain", str(tmp_path / "other.keras"), "--data", "digits"]) == 0
    assert _read(tmp_path / "explanations" / "explanations.json")["model"] == "model-pruned"
    assert _read(tmp_path / "other-explanations" / "explanations.json")["model"] == "other"
    shutil.rmtree(tmp_path / "explanations")
    (tmp_path / "classifier.json").write_text("{}")
    assert main(command) == 0
    assert (tmp_path / "model-pruned-explanations" / "measures.json").exists()
    assert not (tmp_path / "explanations").exists()
    remove_results(tmp_path)
    assert not (tmp_path / "model-pruned-explanations").exists()

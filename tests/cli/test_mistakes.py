"""The command line where something is wrong: one line, an exit code, nothing lost."""

import errno
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasnas.cli
import kerasnas.cli.explain
import kerasnas.cli.search
from kerasnas.cli import main
from kerasnas.cli.run_folder import Run
from kerasnas.errors import InvalidArgument


def _error(capsys, arguments: list[str]) -> str:
    """Run a command that must fail; return its one line on stderr."""
    capsys.readouterr()
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("kerasnas: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "mnist"], "Expected a dataset of cifar10, digits"),
        (["search", "no/such/folder"], "'no/such/folder'"),
        (["search", "digits", "--limit", "5"], "each of 10 classes, got 5"),
        (["search", "digits", "--objective", "val_acuracy", "--max-trials", "1"], "'val_acuracy'"),
        (["search", "digits", "--max-trials", "0"], "--max-trials"),
        (["search", "digits", "--oracle", "genetic"], "'genetic' is not one of"),
        (["search", "digits", "--trials", "3"], "No such option"),
        (["search"], "Missing argument 'DATA'"),
        (["serch"], "No such command 'serch'. Did you mean 'search'?"),
        (["mend"], "No such command 'mend'."),
        (["compress", "small.keras", "--goal", "smallest", "--max-bytes", "50kB"], "'50kB' is not a number."),
        (["search", "digits", "--epochs", "few"], "'few' is not a whole number."),
        (["explain", "small.keras", "--method", "gradcam"], "came 'gradcam'. Did you mean 'grad_cam'?"),
        (["explain", "nowhere"], "'nowhere' does not exist"),
        (["explain", "."], "classifier.json and model.keras"),
        (["compress", "."], "classifier.json"),
        (["export", "."], "classifier.json"),
        (["export", "notes.txt"], "a run folder of `kerasnas search` or a .keras file, got 'notes.txt'"),
        (["export", "broken.keras"], "broken.keras cannot be loaded"),
        (["report", "."], "Expected a run folder"),
        (["compress", "small.keras"], "Pass --data"),
        (["export", "small.keras", "--quantize"], "Pass --data"),
        (["export", "small.keras", "--quantize", "speed"], "'speed' is not one of 'latency'"),
        (["export", "small.keras", "--opset", "21"], "--opset"),
        (["verify", "notes.txt"], "ends in .onnx"),
        (["explain", "small.keras"], "Pass --data"),
        (["explain", "small.keras", "--data", "digits"], "3 outputs, but the data has 10 classes"),
        (["compress", "small.keras", "--sparsity", "1"], "--sparsity"),
        (["compress", "small.keras", "--goal", "tiny"], "'tiny' is not one of"),
        (["compress", "small.keras", "--goal", "fastest", "--channels", "0.5"], "got --goal and --channels"),
        (["compress", "small.keras", "--goal", "fastest"], "Pass --data"),
        (["compress", "small.keras", "--pattern", "4:2"], "M:N with 0 < M < N, got '4:2'"),
        (["compress", "small.keras", "--pattern", "2:4", "--sparsity", "0.5"], "got --sparsity and --pattern"),
        (["compress", "small.keras", "--clusters", "8", "--channels", "0.5"], "got it with --channels"),
        (["compress", "small.keras", "--clusters", "2"], "--clusters"),
        (["export", "small.keras", "--train"], "--train together with --litert int8"),
        (["compress", "small.keras", "--data", "digits", "--max-bytes", "5000"], "Expected --goal beside --max-bytes"),
        (["compress", "small.keras", "--max-loss", "0.01", "--channels", "0.5"], "Expected --goal beside --max-loss"),
        (["compress", "small.keras", "--sparsity", "0.5", "--overwrite"], "beside --overwrite"),
        (["compress", "small.keras", "--max-time", "9", "--max-trials", "12"], "beside --max-trials and --max-time"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no model")
    Path("broken.keras").write_bytes(b"no model")
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]).save("small.keras")
    before = sorted(Path().rglob("*"))
    assert message in _error(capsys, arguments)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("name", ["model.keras", "model-compressed.onnx", "report.html", "evaluation.json", "path/file"])
def test_a_search_does_not_begin_where_it_would_remove_what_is_not_its_own(name, tmp_path, capsys):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    message = _error(capsys, ["search", "digits", "--out", str(tmp_path), "--max-trials", "1"])
    assert f"which has {name.split('/')[0]}: a search would replace or remove them" in message
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(name).name]


def test_a_spoilt_run_folder(run, tmp_path, capsys):
    (tmp_path / "model.keras").write_bytes(b"no model")
    shutil.copy(run / "classifier.json", tmp_path)
    assert "model.keras cannot be loaded" in _error(capsys, ["export", str(tmp_path)])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"parameters": {"trials": 3}}', '{"parameters": {}}'])
def test_a_damaged_description_of_a_run(content, run, tmp_path, capsys):
    shutil.copy(run / "model.keras", tmp_path)
    (tmp_path / "classifier.json").write_text(content)
    assert "classifier.json is damaged" in _error(capsys, ["export", str(tmp_path)])


@pytest.mark.parametrize("name", ["classifier", "verification", "run", "compression", "evaluation"])
def test_a_model_with_the_name_of_a_file_of_kerasnas(name, tmp_path, capsys):
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]).save(tmp_path / f"{name}.keras")
    said = _error(capsys, ["export", str(tmp_path / f"{name}.keras")])
    assert f"another name than {name}.keras" in said
    assert said.endswith("Rename it.")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.keras"]


def test_the_certificate_of_a_file_is_not_taken_for_a_run(tmp_path):
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]).save(tmp_path / "model.keras")
    (tmp_path / "classifier.json").write_text('{"kerasnas_certificate": 1}')
    run = Run.open(tmp_path / "model.keras", data=None, image_size=None, out=None)
    assert run.is_bare
    assert run.explanations == "explanations"


@pytest.mark.parametrize("command", [["compress", "--sparsity", "0.5"], ["compress", "--clusters", "4"], ["explain"]])
def test_a_folder_that_cannot_be_written_is_told_before_the_work(command, tmp_path, capsys, monkeypatch):
    stack = [keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    keras.Sequential([keras.Input((8, 8, 1)), *stack]).save(tmp_path / "small.keras")
    for work in ("compress", "predict_proba"):
        monkeypatch.setattr(kerasnas.ImageClassifier, work, lambda *_, **__: pytest.fail("it worked for nothing"))
    first, *options = command
    out = tmp_path / "small.keras" / "out"
    said = _error(capsys, [first, str(tmp_path / "small.keras"), "--data", "digits", *options, "--out", str(out)])
    assert f"Expected a folder that can be written to, got {out}" in said


def test_an_impossible_output_folder(run, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert "file" in _error(capsys, ["export", str(run), "--out", str(tmp_path / "file" / "out")])


@pytest.mark.parametrize("place", ["/proc/none/run", "/proc"])
def test_a_search_where_no_folder_can_be_made(place, capsys):
    assert _error(capsys, ["search", "digits", "--out", place]).startswith("kerasnas: error: No such file or directory: /proc/")


@pytest.mark.parametrize(("pictures", "told"), [(12, True), (600, False)])
def test_few_pictures_are_told_before_the_search(pictures, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", x=np.zeros((pictures, 4, 4), "uint8"), y=np.arange(pictures) % 2)
    monkeypatch.setattr("kerasnas.estimators.ImageClassifier.fit", _stop)
    assert main(["search", "few.npz"]) == 130
    assert ("9 training and 3 test pictures are few" in (err := capsys.readouterr().err)) == told
    assert ("57 points off" in err) == told


def _stop(*_, **__):
    raise KeyboardInterrupt


def test_a_full_disk_is_a_line(monkeypatch, tmp_path, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "run/model.keras")

    monkeypatch.setattr(kerasnas.cli.search, "search", full)
    assert main(["search", "digits", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "kerasnas: error: No space left on device: run/model.keras\n"


def test_a_model_of_two_outputs(tmp_path, capsys):
    inputs = keras.Input((4,))
    keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(inputs)]).save(tmp_path / "two.keras")
    assert "one output" in _error(capsys, ["export", str(tmp_path / "two.keras")])


def test_a_text_that_is_called_a_keras_file(tmp_path, capsys):
    (tmp_path / "text.keras").write_text("not a model")
    told = _error(capsys, ["export", str(tmp_path / "text.keras")])
    assert "it is no (zip) file of model.save" in told
    assert "not found" not in told.lower()


def test_advice_is_that_of_the_command_line(monkeypatch, tmp_path, capsys):
    def refuse(*_, **__):
        raise InvalidArgument("Pass overwrite=True to delete it, or another project_name.")

    monkeypatch.setattr("kerasnas.report.write_report", refuse)
    assert "Pass --overwrite to delete it, or another --out." in _error(capsys, ["report", str(tmp_path)])


def test_a_bug_is_not_hidden(monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(kerasnas.cli.search, "search", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["search", "digits", "--out", str(tmp_path)])


def test_an_export_that_disagrees_is_exit_code_1(monkeypatch, tmp_path, capsys):
    def disagree(*args, **kwargs):
        raise kerasnas.errors.ExportMismatch("differs\nby 0.5")

    monkeypatch.setattr(kerasnas.cli.search, "search", disagree)
    assert main(["search", "digits", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "kerasnas: error: differs by 0.5\n"


def test_ctrl_c(monkeypatch, tmp_path, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(kerasnas.cli.search, "search", interrupt)
    assert main(["search", "digits", "--out", str(tmp_path)]) == 130
    assert "interrupted" in capsys.readouterr().err

"""The runner as a user starts it: one process, its lines and its exit code."""

import csv
import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RUNNER = Path(__file__).parents[1] / "runner"
SIDE = 32
QUARTERS = np.add.outer(np.arange(SIDE) // 16 * 2, np.arange(SIDE) // 16)
KERNEL = np.eye(4)[QUARTERS.ravel()] * 9 / 256  # 9 times the mean of each quarter
LABELS = ["north-west", "north-east", "south-west", "south-east"]


def command(*arguments):
    return [sys.executable, "-W", "error", RUNNER / "classify.py", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def model(write_model):
    return write_model(KERNEL, shape=(SIDE, SIDE, 1), labels=LABELS, preprocessing={"input": "raw pixels", "range": [0, 1]})


@pytest.fixture
def corner(write_picture):
    def write(index, name):
        return write_picture((index == QUARTERS) * 255, name, compress_level=0)

    return write


def test_this_environment_is_as_bare_as_a_device():
    assert not [name for name in ("tensorflow", "keras", "kerasnas", "scipy", "cv2") if importlib.util.find_spec(name)]


def test_lines_of_text(model, corner):
    first, second = corner(0, "in/a.png"), corner(3, "in/b.png")
    os.utime(first, (1, 1))
    done = run(model, first.parent)
    assert done.returncode == 0, done.stderr
    one, two = done.stdout.splitlines()
    p = np.exp(9) / (np.exp(9) + 3)
    assert re.fullmatch(rf"{first}: north-west {p:.3f}, north-east 0.000, south-west 0.000 \(\d+\.\d\d ms\)", one)
    assert two.startswith(f"{second}: south-east {p:.3f}, ")
    assert re.search(r"2 pictures, median \d+\.\d\d ms", done.stderr)
    assert run(model, first, "--top", "1").stdout.count(",") == 0
    assert run("--top", "1", model, "--threads", "1", first).stdout.count(",") == 0  # wherever the options stand


def test_lines_of_json_and_csv(model, corner):
    path = corner(2, "a, b.png")
    p = np.exp(9) / (np.exp(9) + 3)
    row = json.loads(run(model, path, "--format", "json").stdout)
    assert set(row) == {"file", "label", "probability", "latency_ms", "probabilities"}
    assert row["file"] == str(path)
    assert row["label"] == "south-west"
    assert list(row["probabilities"]) == LABELS
    assert row["probabilities"]["south-west"] == row["probability"] == pytest.approx(p, abs=1e-6)
    assert row["latency_ms"] > 0
    header, values = csv.reader(run(model, path, "--format", "csv").stdout.splitlines())
    assert header == ["file", "label", "probability", "latency_ms", *LABELS]
    assert values[:2] == [str(path), "south-west"]
    assert [float(one) for one in values[4:]] == pytest.approx([(1 - p) / 3] * 2 + [p, (1 - p) / 3], abs=1e-6)


def test_names_of_any_kind_in_any_locale(write_model, corner, tmp_path):
    labels = ["n\u00f6rdlich", "\u2603", "c", "d"]
    model = write_model(KERNEL, shape=(SIDE, SIDE, 1), labels=labels, preprocessing={"range": [0, 1]})
    path = os.fsencode(tmp_path) + b"/\xe9\xff.png"  # no UTF-8
    os.rename(corner(0, "a.png"), path)
    for locale in ("C", "de_DE.ISO-8859-1"):
        bare = {"PATH": os.environ["PATH"], "LC_ALL": locale, "PYTHONIOENCODING": "latin-1"}
        arguments = [*command(model), path, "--format", "json"]
        done = subprocess.run(arguments, capture_output=True, env=bare, check=False)
        assert done.returncode == 0, done.stderr
        assert path in done.stdout
        row = json.loads(done.stdout.decode(errors="surrogateescape"))
        assert list(row["probabilities"]) == labels


def test_without_pictures_it_describes_the_file(model):
    said = json.loads(run(model).stdout)
    assert said["labels"] == LABELS
    assert said["black_and_white"] == [0, 1]
    assert said["input"] == "32 x 32, grey"
    assert said["answers"] == "softmax"


def test_maps(model, corner, tmp_path):
    path = corner(1, "a.png")
    row = json.loads(run(model, path, "--occlusion", tmp_path / "maps", "--format", "json").stdout)
    assert row["occlusion"] == str(tmp_path / "maps" / "a.png.occlusion.png")
    assert [file.name for file in (tmp_path / "maps").iterdir()] == ["a.png.occlusion.png"]
    with Image.open(row["occlusion"]) as shown:
        assert shown.size == (320, 320)
    done = run(model, path, corner(2, "other/a.png"), "--occlusion", tmp_path / "maps")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 pictures are called a.png" in done.stderr


def test_what_cannot_be_read_is_one_line_and_the_others_go_on(model, corner, tmp_path):
    good = corner(0, "good.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:500])
    done = run(model, tmp_path / "text.png", tmp_path / "half.png", tmp_path / "gone.png", good)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good}: north-west ")
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0] == f"classify: error: {tmp_path}/text.png: not a picture"
    assert lines[1].startswith(f"classify: error: {tmp_path}/half.png: ")
    assert lines[2] == f"classify: error: {tmp_path}/gone.png: there is no such file"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"no protobuf at all", "not an ONNX file that onnxruntime"),
        (b"PK\x03\x04", "kerasnas export"),
        (b"\x1c\x00\x00\x00TFL3", "a LiteRT file; needs ai-edge-litert: python3 -m pip install ai-edge-litert"),
        (b"", "empty; expected an ONNX file"),
        (None, "No such file or directory; expected an ONNX file"),
    ],
)
def test_what_is_no_onnx_file_is_one_line(corner, tmp_path, content, expected):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    done = run(path, corner(0, "a.png"))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"classify: error: {path}: ")
    assert expected in line


def test_a_file_that_was_cut_off_is_one_line(model, corner):
    model.write_bytes(model.read_bytes()[:-40])
    done = run(model, corner(0, "a.png"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_other_mistakes(model, corner, tmp_path, write_model):
    (tmp_path / "empty").mkdir()
    assert "no picture there" in run(model, tmp_path / "empty").stderr
    wrong = run(write_model(np.zeros((8, 2)), shape=(2, 2, 2), name="two.onnx"), corner(0, "a.png"))
    assert wrong.returncode == 2
    assert "1 or 3 channels, got image ['batch', 2, 2, 2]" in wrong.stderr
    for arguments in (["--watch"], ["--range", "1", "1"], ["--top", "0"], ["--format", "xml"], ["--threads", "-1"]):
        assert run(model, *arguments).returncode == 2
    assert "No such file" in run(model, tmp_path / "gone", "--watch").stderr
    assert run().stderr.endswith("error: the following arguments are required: model\n")  # pictures may be left out


def test_a_certificate_that_is_not_there(model, corner):
    done = run(model, "--verify")
    assert (done.returncode, done.stdout) == (2, "")
    assert "model.json: No such file or directory; expected the certificate" in done.stderr
    assert run(model, corner(0, "a.png"), "--verify").returncode == 2


def certify(path):
    """Write a certificate of the file's bytes; what it says of outputs is of no account where they are not asked for."""
    outputs = {"scores": {"places": [0], "values": [0.0], "mean": 0.0, "shape": [1, 2]}}
    test = {"samples": 1, "batch_size": 1, "range": [0, 1], "atol": 1.0, "seed": 0, "outputs": outputs}
    known = {"file": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}, "self_test": test}
    place = path.with_suffix(".json") if path.suffix == ".onnx" else path.with_name(f"{path.name}.json")
    place.write_text(json.dumps(known))
    return path


def test_what_cannot_be_checked_here_is_not_said_to_be_wrong(write_model, tmp_path):
    of_a_table = write_model(np.zeros((8, 2)), shape=(8,), name="table.onnx")
    in_fours = write_model(np.zeros((16, 2)), batch=4, name="fours.onnx")
    litert = tmp_path / "model.tflite"
    litert.write_bytes(b"\x1c\x00\x00\x00TFL3")
    expected = {of_a_table: "got image ['batch', 8]", in_fours: "batches of 4 only", litert: "needs ai-edge-litert"}
    for path, reason in expected.items():
        done = run(certify(path), "--verify")
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr
    in_fours.write_bytes(of_a_table.read_bytes())  # which is another file than the certified one
    done = run(in_fours, "--verify")
    assert done.returncode == 1
    assert "DOES NOT HOLD" in done.stdout
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no protobuf at all")
    assert run(certify(broken), "--verify").returncode == 1  # the runtime refuses what was certified


def test_missing_packages_are_named_with_the_line_that_installs_them(model):
    bare = [sys.executable, "-S", RUNNER / "classify.py"]  # -S: without installed packages
    done = subprocess.run([*bare, model], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No module named 'numpy'" in done.stderr
    assert done.stderr.rstrip().endswith("python3 -m pip install numpy onnxruntime pillow")
    shown = subprocess.run([*bare, "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert "--occlusion" in shown.stdout


def test_a_reader_that_has_had_enough_is_no_error(model, corner):
    path = corner(0, "a.png")
    with subprocess.Popen(command(model, *[path] * 3000), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""


def test_a_camera_folder_until_it_is_stopped(model, corner, tmp_path):
    folder = tmp_path / "camera"
    corner(0, "camera/old.png")
    pictures = {name: corner(index, name).read_bytes() for index, name in enumerate(("a.png", "b.png", "c.png", "d.png"))}
    arguments = command(model, folder, "--watch", "--format", "json", "--occlusion", folder)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "the 1 pictures there already are left out" in process.stderr.readline()
            (folder / "half.png").write_bytes(pictures["b.png"][:500])
            (folder / ".hidden.png").write_bytes(pictures["b.png"])
            (folder / "a.png").write_bytes(pictures["a.png"])
            first = json.loads(process.stdout.readline())
            assert (Path(first["file"]).name, first["label"]) == ("a.png", "north-west")
            time.sleep(1)  # the other half is late
            (folder / "half.png").write_bytes(pictures["b.png"])
            second = json.loads(process.stdout.readline())
            assert (Path(second["file"]).name, second["label"]) == ("half.png", "north-east")
            (folder / "draft").write_bytes(pictures["d.png"])
            (folder / "draft").rename(folder / "a.png")  # as a camera that has one name only
            third = json.loads(process.stdout.readline())
            assert (Path(third["file"]).name, third["label"]) == ("a.png", "south-east")
            time.sleep(1.2)  # the maps in the same folder would be found now, if they were taken for pictures
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""


def test_the_container_gets_what_it_copies():
    lines = (RUNNER / "Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY ")}
    let_in = {line[1:] for line in (RUNNER / ".dockerignore").read_text().split() if line.startswith("!")}
    assert copied == let_in == {path.name for path in RUNNER.iterdir() if path.suffix in (".py", ".txt")}

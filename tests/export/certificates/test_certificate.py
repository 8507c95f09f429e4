"""What a certificate says is what the file is and does; what was changed afterwards is found."""

import copy
import gzip
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from kerasnas.cli import main
from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.export import Certificate, certify
from kerasnas.export.certificate import certificate_path
from kerasnas.export.certificate_schema import _SCHEMA, Maybe, Named, Perhaps
from kerasnas.export.model_digest import weights_sha256
from kerasnas.export.processor import processor
from kerasnas.export.self_test import fixed_samples

PAGE = Path(__file__).parents[3] / "export" / "CERTIFICATE.md"


def run(path, x):
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def held(check):
    return {finding.name: finding.held for finding in check.findings}


def test_the_figures_are_those_of_the_file(made, model, data):
    file, certificate = made
    content = file.path.read_bytes()
    assert certificate.file == {
        "name": "model.onnx", "format": "onnx", "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content), "gzip_bytes": len(gzip.compress(content, 9)), "opset": 16,
    }  # fmt: skip
    assert certificate.inputs == ({"name": "image", "shape": [None, 6, 6, 1], "dtype": "float32"},)
    assert certificate.outputs == ({"name": "kind", "shape": [None, 3], "dtype": "float32"},)
    assert certificate.labels == ("a", "b", "c")
    assert certificate.preprocessing == {"input": "raw pixels", "range": [0, 16]}
    right = float(np.mean(run(file, data[0]).argmax(axis=1) == data[1]))
    assert certificate.accuracy == {"file": right, "model": 0.75, "samples": 40}
    assert right == 0.75
    assert file.verification.to_dict().items() <= certificate.parity.items()
    assert certificate.parity["passed"]
    assert certificate.latency["median_ms"] > 0
    assert certificate.latency["size_bytes"] == len(content)
    assert certificate.provenance == {"trial_id": "07"}
    assert certificate.versions["onnxruntime"] == onnxruntime.__version__
    assert certificate.versions["keras"] == keras.__version__
    assert certificate.machine.items() >= processor().items()
    assert certificate.model == {
        "name": model.name, "parameters": model.count_params(), "weights_sha256": weights_sha256(model)
    }  # fmt: skip


def test_every_figure_says_how_it_was_measured(made):
    content = made[1].to_dict()
    for place, words in content["measured"].items():
        value = content
        for key in place.split("."):
            value = value[key]  # a place that is not there raises
        assert len(words) > 15


def test_the_hash_of_weights_is_as_described_and_survives_saving(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    kernel, bias = np.asarray([[1.5], [-2.0]], "<f4"), np.asarray([0.25], "<f4")
    model.set_weights([kernel, bias])
    parts = b"float32 [2, 1]\n" + kernel.tobytes() + b"float32 [1]\n" + bias.tobytes()
    assert weights_sha256(model) == hashlib.sha256(parts).hexdigest()
    model.save(tmp_path / "m.keras")
    assert weights_sha256(keras.models.load_model(tmp_path / "m.keras")) == weights_sha256(model)
    model.set_weights([kernel, np.nextafter(bias, np.float32(1))])
    assert weights_sha256(model) != hashlib.sha256(parts).hexdigest()


def test_what_was_written_is_read(made, tmp_path):
    file, certificate = made
    assert certificate_path(file) == file.path.with_suffix(".json")
    read = Certificate.load(certificate_path(file))
    assert read == certificate
    assert "[null, 6, 6, 1]" in certificate_path(file).read_text()  # one line for a shape
    told = certify(file, path=tmp_path / "x.json", provenance={"text": "a [\n  1\n] b", "list": ["[", "x\n  y"]})
    assert Certificate.load(tmp_path / "x.json").provenance == told.provenance


# -- checking --


def test_an_untouched_file_holds(beside):
    path, certificate = beside
    check = certificate.check(path)
    assert held(check) == {"file": True, "loads": True, "tensors": True, "outputs": True}
    check.raise_for_failure()


def test_changed_weights_are_found(beside, perturb):
    path, certificate = beside
    onnx.save(perturb(onnx.load(path), 0.5), path)
    check = certificate.check(path)
    assert held(check) == {"file": False, "loads": True, "tensors": True, "outputs": False}
    with pytest.raises(ExportMismatch, match="largest difference"):
        check.raise_for_failure()


def test_another_file_that_computes_the_same_is_still_another_file(beside):
    path, certificate = beside
    proto = onnx.load(path)
    proto.doc_string = "changed"
    onnx.save(proto, path)
    assert held(certificate.check(path)) == {"file": False, "loads": True, "tensors": True, "outputs": True}


def test_other_tensors_are_found(beside):
    path, certificate = beside
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.output[:] = ["other" if name == "kind" else name for name in node.output]
    proto.graph.output[0].name = "other"
    onnx.save(proto, path)
    assert held(certificate.check(path)) == {"file": False, "loads": True, "tensors": False, "outputs": False}


def test_a_file_that_does_not_load(beside):
    path, certificate = beside
    path.write_bytes(path.read_bytes()[:500])
    assert held(certificate.check(path)) == {"file": False, "loads": False}


def test_no_file_to_check(made, tmp_path):
    with pytest.raises(InvalidArgument, match="found none"):
        made[1].check(tmp_path / "model.onnx")
    with pytest.raises(InvalidArgument, match=r"ends in \.onnx"):
        made[1].check(tmp_path / "model.pb")


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_the_fixed_samples_are_those_of_the_description(dtype):
    def u(k, seed):  # in exact integers
        h = (k + 1 + seed * 0x9E3779B9) % 2**32
        h = (h ^ (h >> 16)) * 0x85EBCA6B % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
        return (h ^ (h >> 16)) / 2**32

    made = {"float32": lambda v: -3 + 8.5 * v, "int32": lambda v: -3 + math.floor(v * 9), "bool": lambda v: v >= 0.5}[dtype]
    (came,) = fixed_samples([("x", (None, None, 3), dtype)], 2, value_range=(-3, 5.5), seed=7)
    expected = np.asarray([made(u(k, 7)) for k in range(2 * 32 * 3)]).astype(dtype).reshape(2, 32, 3)
    np.testing.assert_array_equal(came, expected)
    assert len(np.unique(came)) > {"float32": 180, "int32": 8, "bool": 1}[dtype]
    assert np.issubdtype(came.dtype, np.dtype(dtype).type)


def test_the_page_tells_how_to_check_without_kerasnas(made, tmp_path):
    for name in ("model.onnx", "model.json"):
        (tmp_path / name).write_bytes(made[0].path.with_name(name).read_bytes())
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    snippet += "\nimport sys; assert not {'tensorflow', 'keras', 'kerasnas'} & set(sys.modules)\n"

    def check():
        return subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False)

    done = check()
    assert (done.returncode, done.stdout) == (0, "as certified\n"), done.stderr
    content = json.loads((tmp_path / "model.json").read_text())
    content["self_test"]["outputs"]["kind"]["values"][4] += 1e-3
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert "AssertionError" in check().stderr


def test_the_page_names_every_key():
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE.read_text(), flags=re.MULTILINE))))
    assert told == set(_SCHEMA)


# -- reading what is no certificate --


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(kerasnas_certificate=2), "version 1, but .* version 2"),
        (lambda c: c.pop("kerasnas_certificate"), "has the key 'kerasnas_certificate'"),
        (lambda c: c.pop("self_test"), "lacks 'self_test'"),
        (lambda c: c["file"].pop("sha256"), "file lacks 'sha256'"),
        (lambda c: c["file"].update(sha256="abc"), r"64 hexadecimal digits at file\.sha256, got 'abc'"),
        (lambda c: c["file"].update(size_bytes=True), r"a whole number >= 0 at file\.size_bytes, got True"),
        (lambda c: c["inputs"][0]["shape"].append(-1), r"inputs\[0\]\.shape\[4\], got -1"),
        (lambda c: c["accuracy"].update(file="high"), r"a finite number at accuracy\.file, got 'high'"),
        (lambda c: c["accuracy"].update(original=None), r"a finite number at accuracy\.original, got None"),
        (lambda c: c.update(labels="abc"), "a list at labels, got 'abc'"),
        (lambda c: c.update(model=[]), r"an object at model, got \[\]"),
        (lambda c: c["parity"].update(max_abs_difference={}), r"a number at parity\.max_abs_difference, got \{\}"),
        (lambda c: c["parity"].update(max_abs_difference={"kind": None}), r"parity\.max_abs_difference, got \{'kind': None"),
        (lambda c: c["accuracy"].update(file=10**400), r"a finite number at accuracy\.file, got 1000"),
        (lambda c: c["self_test"].update(range=[1, 0]), r"\[lowest, highest\] at self_test\.range"),
        (lambda c: c["self_test"].update(batch_size=2), "whole batches"),
        (lambda c: c["self_test"].update(outputs={}), "outputs is empty"),
        (lambda c: c["self_test"]["outputs"]["kind"]["places"].pop(), "as many places as values"),
        (lambda c: c["self_test"]["outputs"]["kind"]["places"].__setitem__(0, 99), "places within the shape"),
    ],
)  # fmt: skip
def test_a_wrong_certificate_is_refused_with_the_place(change, message, made, tmp_path):
    content = made[1].to_dict()
    change(content)
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(InvalidArgument, match=message) as error:
        Certificate.load(tmp_path / "c.json")
    assert "c.json" in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"kerasnas_certificate"', '{"a": NaN}', b"\xff\xfe\x00"])
def test_what_is_no_certificate_at_all(text, tmp_path):
    (tmp_path / "c.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidArgument, match="certificate"):
        Certificate.load(tmp_path / "c.json")
    with pytest.raises(InvalidArgument, match="found none"):
        Certificate.load(tmp_path / "nothing.json")


def test_a_certificate_of_before_there_were_bounds_by_output_is_whole(made, tmp_path):
    content = made[1].to_dict()
    del content["parity"]["bounds"]
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert Certificate.load(tmp_path / "c.json").check(made[0]).passed


def _places(kind, value):
    """Yield holder, key and kind of everything that the schema asks for in a certificate."""
    kind = kind.kind if isinstance(kind, Maybe | Perhaps) else kind
    if value is None or isinstance(kind, str):
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        if isinstance(kind, dict) and key not in kind:
            continue
        below = kind[key] if isinstance(kind, dict) else kind.kind if isinstance(kind, Named) else kind[0]
        yield value, key, below
        yield from _places(below, inner)


@given(st.data())
def test_no_damage_to_what_is_asked_for_passes(made, data):
    content = copy.deepcopy(made[1].to_dict())
    places = [place for place in _places(_SCHEMA, content) if place[2] != "anything"]
    holder, key, kind = places[data.draw(st.integers(0, len(places) - 1))]
    wrong = data.draw(st.sampled_from([{"a"}, -1.5, "no date", math.nan, True]))
    kind = kind.kind if isinstance(kind, Maybe | Perhaps) else kind
    if (kind, wrong) in (("text", "no date"), ("number", -1.5), ("flag", True)):
        wrong = {"a"}  # JSON has no sets
    holder[key] = wrong
    with pytest.raises(InvalidArgument):
        Certificate.from_dict(content)


# -- what is not certified --


def test_the_command(beside, perturb, capsys):
    path, certificate = beside
    assert main(["verify", str(path)]) == 2
    assert "found none" in capsys.readouterr().err
    certificate.write(certificate_path(path))
    assert main(["verify", str(path)]) == 0
    printed = capsys.readouterr().out
    for text in ("model.onnx holds", "image (batch, 6, 6, 1) float32", "0.7500 on 40 samples", "trial 8", "here"):
        assert text in printed
    assert len(printed.splitlines()) < 24
    onnx.save(perturb(onnx.load(path), 0.5), path)
    assert main(["verify", str(path), "--certificate", str(certificate_path(path))]) == 1
    assert "model.onnx DOES NOT HOLD" in capsys.readouterr().out
    assert main(["verify", str(certificate_path(path))]) == 2


def test_the_processor_is_read_from_what_linux_says(tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 fma\n\nprocessor : 1\nflags : avx2\n")
    found = processor(told)
    assert (found["cpu"], found["instructions"], found["int8"]) == ("Some CPU @ 2 GHz", ["avx2", "fma"], "AVX2")
    told.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 5\n")
    found = processor(told)
    assert found["cpu"] in ("BCM2835", "Raspberry Pi 5")
    assert found["instructions"] == ["asimd", "asimddp"]
    assert processor(tmp_path / "nothing")["cpu"]

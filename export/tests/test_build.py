"""The folder for a web server: the model is never lost, and only an ONNX file is taken."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

WEB = Path(__file__).parents[1] / "web"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="here is no node")


@pytest.fixture
def build(tmp_path):
    """Run a copy of build.js, with stand-ins for the files of onnxruntime-web."""
    web = tmp_path / "web"
    shutil.copytree(WEB, web, ignore=shutil.ignore_patterns("node_modules", "dist", "model.onnx"))
    for name in RUNTIME:
        file = web / "node_modules" / "onnxruntime-web" / "dist" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)

    def run(*arguments, cwd=tmp_path):
        return subprocess.run(["node", web / "build.js", *arguments], cwd=cwd, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def model(write_model):
    return write_model(np.eye(16)[:, :3], name="net.onnx")


def test_a_model_that_lies_in_the_site_stays(build, model, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    content = model.read_bytes()
    shutil.copy(model, site / "model.onnx")
    for arguments, folder in (((site, site / "model.onnx"), tmp_path), ((".", "model.onnx"), site), ((site,), tmp_path)):
        done = build(*arguments, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert (site / "model.onnx").read_bytes() == content
    assert "model.onnx, which was there, stays" in done.stdout
    os.symlink(model, tmp_path / "link.onnx")
    (site / "model.onnx").unlink()
    os.symlink(model, site / "model.onnx")
    assert build(site, tmp_path / "link.onnx").returncode == 0
    assert model.read_bytes() == (site / "model.onnx").read_bytes() == content
    assert (site / "index.html").read_bytes() == (WEB / "index.html").read_bytes()


def test_another_model_replaces_the_one_that_is_there(build, model, write_model, tmp_path):
    site, other = tmp_path / "site", write_model(np.eye(16)[:, :2], name="other.onnx")
    for one in (other, model):
        assert build(site, one).returncode == 0
        assert (site / "model.onnx").read_bytes() == one.read_bytes()
    assert not (site / ".model.onnx").exists()


def test_the_page_can_be_built_where_it_lies(build, model, tmp_path):
    web = tmp_path / "web"
    before = {path: path.read_bytes() for path in web.rglob("*") if path.is_file()}
    assert build(".", model, cwd=web).returncode == 0
    assert {path: path.read_bytes() for path in before} == before
    assert (web / "model.onnx").read_bytes() == model.read_bytes()


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04" + 60 * b"k", b"\x1c\x00\x00\x00TFL3" + 60 * b"\x00", b"", b"no model at all"]
)
def test_what_is_no_onnx_file_is_refused_before_anything_is_written(content, build, tmp_path):
    (tmp_path / "model.keras").write_bytes(content)
    done = build("site", "model.keras")
    assert done.returncode == 2
    assert "model.keras is not an ONNX file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "site").exists()


def test_a_file_in_the_way_is_told_in_a_line(build, model, tmp_path):
    (tmp_path / "site").write_text("mine")
    done = build("site", model)
    assert done.returncode == 2
    assert "site cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "site").read_text() == "mine"

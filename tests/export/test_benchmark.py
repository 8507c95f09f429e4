import gzip
import importlib
import json
import re
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kerasnas.cli import main
from kerasnas.errors import InvalidArgument
from kerasnas.export import Certificate, benchmark, certify, quantize
from kerasnas.export.session import Session


@pytest.fixture
def file(tmp_path, write_linear):
    return write_linear(tmp_path / "m.onnx", np.eye(4))


def test_sizes_are_those_of_the_file(file):
    latency = benchmark(file, repeats=5, warmup=0)
    content = file.read_bytes()
    assert latency.size_bytes == len(content)
    assert gzip.decompress(gzip.compress(content, 9, mtime=0)) == content
    assert latency.gzip_bytes == len(gzip.compress(content, 9, mtime=0))


def test_statistics_of_known_times(file, monkeypatch):
    # A clock on which the calls take 1, 2, ..., 10 ms: median and mean 5.5, 90th percentile 9.1 (interpolated).
    ticks = iter(np.cumsum([0] + [t for i in range(1, 11) for t in (i * 1_000_000, 5_000_000)]).tolist())
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(ticks))
    latency = benchmark(file, repeats=10, warmup=3)
    assert latency.median_ms == pytest.approx(5.5)
    assert latency.mean_ms == pytest.approx(5.5)
    assert latency.p90_ms == pytest.approx(9.1)


def test_calls_and_batch_are_as_asked(file, monkeypatch):
    seen = []
    original = Session.run

    def run(self, arrays):
        seen.append(arrays["x"].shape)
        return original(self, arrays)

    monkeypatch.setattr(Session, "run", run)
    latency = benchmark(file, batch_size=5, repeats=7, warmup=2)
    assert seen == [(5, 4)] * 9
    assert (latency.batch_size, latency.repeats, latency.threads) == (5, 7, 1)


def test_record_goes_through_json_and_says_how_it_was_measured(file):
    latency = benchmark(str(file), repeats=5, threads=2)
    content = json.loads(json.dumps(latency.to_dict(), allow_nan=False))
    assert content["threads"] == 2
    assert content["provider"] == "CPUExecutionProvider"
    assert {"runtime", "machine", "median_ms", "p90_ms"} <= set(content)
    assert "median" in str(latency)
    with pytest.raises(AttributeError):
        latency.median_ms = 0.0


@pytest.fixture
def free(tmp_path):
    """Return a file that takes pictures of any height and width, in channels of 3."""
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "height", "width", 3])
    mean = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)], "mean", [picture], [mean]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "free.onnx")
    return tmp_path / "free.onnx"


def test_the_size_that_is_timed_is_chosen_and_told_where_it_is_free(file, free, monkeypatch):
    seen = []
    original = Session.run
    monkeypatch.setattr(Session, "run", lambda self, arrays: [seen.append(arrays["x"].shape), original(self, arrays)][1])
    one, other = benchmark(free, repeats=2), benchmark(free, repeats=2, batch_size=5, shapes={"x": (64, 48, 3)})
    assert set(seen) == {(1, 32, 32, 3), (5, 64, 48, 3)}
    assert (one.shapes, other.shapes) == ({"x": (32, 32, 3)}, {"x": (64, 48, 3)})
    assert "per call of 1 of 32 x 32 x 3 (" in str(one)
    assert "per call of 5 of 64 x 48 x 3 (" in str(other)
    fixed = benchmark(file, repeats=2)
    assert fixed.shapes == {}
    assert "per call of 1 (" in str(fixed)


@pytest.mark.parametrize("shapes", [{"x": (64, 48, 1)}, {"x": (64, 48)}, {"z": (64, 48, 3)}])
def test_shapes_that_the_file_does_not_take_are_refused(free, shapes):
    with pytest.raises(InvalidArgument, match=r"shape of one sample .* Pass sizes that the file takes"):
        benchmark(free, shapes=shapes)


def test_where_there_are_samples_their_size_is_timed(free, monkeypatch, capsys):
    x = np.random.default_rng(0).uniform(size=(8, 20, 24, 3)).astype("float32")
    certificate = certify(free, x=x)
    assert certificate.latency["shapes"] == {"x": (20, 24, 3)}
    assert "a call of 1 of 20 x 24 x 3, " in str(Certificate.load(free.with_suffix(".json")))
    assert "latency.shapes" in certificate.measured["latency.median_ms"]
    assert main(["verify", str(free)]) == 0
    assert re.search(r"here +median \S+ ms a call of 1 of 20 x 24 x 3\n", capsys.readouterr().out)
    sizes = []
    for name in ("kerasnas.export.quantize", "kerasnas.compression_search.network_files"):
        module = importlib.import_module(name)
        monkeypatch.setattr(
            module, "benchmark", lambda *given, **more: [sizes.append(more["shapes"]), benchmark(*given, **more)][1]
        )
    quantize(free, x, formats=["float16"], rounds=1)
    module.side_by_side({}, free, 1, x)
    assert len(sizes) >= 2
    assert all(one == {"x": (20, 24, 3)} for one in sizes)


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"repeats": 0}, {"threads": 0}, {"warmup": -1}, {"repeats": 1.5}])
def test_wrong_arguments_are_refused(file, arguments):
    with pytest.raises(InvalidArgument, match=next(iter(arguments))):
        benchmark(file, **arguments)


def test_fixed_batch_and_missing_file(tmp_path, write_linear):
    fixed = write_linear(tmp_path / "one.onnx", np.eye(2), batch=1)
    assert benchmark(fixed, repeats=2).batch_size == 1
    with pytest.raises(InvalidArgument, match="fixed to 1"):
        benchmark(fixed, batch_size=2)
    with pytest.raises(InvalidArgument, match=r"nothing.onnx"):
        benchmark(tmp_path / "nothing.onnx")

import gzip
import json
import time

import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.export import benchmark
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

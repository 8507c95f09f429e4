import time

import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.search import latency
from kerasnas.search.latency import measure_latency


@pytest.fixture
def dense():
    def make(units, **kwargs):
        return keras.Sequential([keras.Input((units,)), *[keras.layers.Dense(units, **kwargs) for _ in range(4)]])

    return make


@pytest.fixture
def clock(monkeypatch):
    """A clock that only `spend` moves on."""

    class Clock:
        now = 0

        def spend(self, ms):
            self.now += int(1e6 * ms)

    clock = Clock()
    monkeypatch.setattr(time, "perf_counter_ns", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return clock


def test_the_result_is_the_fastest_call_after_the_warm_up(dense, clock, monkeypatch):
    # Every burst begins with a call of 1 ms that does not count; 3 ms are taken once, in the fourth burst.
    durations = []
    for burst in range(10):
        durations += [1.0, 9.0, 3.0 if burst == 3 else 8.0, *[7.0] * 4]  # 9 + 8 + 4 * 7 ms end a burst of 40 ms
    monkeypatch.setattr(latency, "open_session", lambda *_, **__: Session(iter([50.0, *durations]), clock))
    assert measure_latency(dense(2)) == pytest.approx(3.0)


class Session:
    inputs = (("x", (None, 2), "float32"),)

    def __init__(self, durations, clock):
        self.durations, self.clock, self.calls = durations, clock, 0

    def run(self, feed):
        assert feed["x"].shape == (1, 2)
        self.calls += 1
        self.clock.spend(next(self.durations, 7.0))


def test_a_slow_network_is_called_as_often_as_asked(dense, clock, monkeypatch):
    session = Session(iter([]), clock)
    session.durations = iter([500.0] * 1000)
    monkeypatch.setattr(latency, "open_session", lambda *_, **__: session)
    measure_latency(dense(2), runs=30)
    assert session.calls == 1 + 10 * (1 + 3)


def test_a_larger_network_takes_longer_and_is_left_as_it_is(dense):
    small, large = dense(4), dense(1024)
    before = [w.copy() for w in large.get_weights()]
    fast, slow = measure_latency(small), measure_latency(large)
    # 4 million multiply-accumulates: some 100 times the 10 microseconds that an empty call takes.
    assert 0 < fast < slow / 5
    assert slow < 1000
    for one, other in zip(before, large.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_measured_is_refused(dense, monkeypatch):
    for arguments in ({"runs": 9}, {"runs": 20.5}, {"threads": 0}, {"threads": True}):
        with pytest.raises(InvalidArgument, match=next(iter(arguments))):
            measure_latency(dense(2), **arguments)
    with pytest.raises(InvalidArgument, match="mixed_float16"):
        measure_latency(dense(2, dtype="mixed_float16"))
    with pytest.raises(InvalidArgument, match="input shape"):
        measure_latency(keras.Sequential([keras.layers.Dense(2)]))
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(InvalidArgument, match="KERAS_BACKEND=tensorflow"):
        measure_latency(dense(2))

"""Which failures do not end a search."""

import traceback

import keras_tuner as kt
import pytest

from kerasnas.errors import InfeasibleArchitecture, SearchFailed
from kerasnas.oracles import RandomOracle
from kerasnas.oracles.excuses import is_excused


class ResourceExhaustedError(Exception):
    """As TensorFlow's."""


def traced(error, cause=None):
    """What KerasTuner writes into trial.message."""
    try:
        try:
            if cause is not None:
                raise cause
        finally:
            raise error
    except Exception:
        return traceback.format_exc()


EXCUSED = [
    InfeasibleArchitecture("a feature map of 0 x 0"),
    InfeasibleArchitecture(),
    kt.errors.FailedTrialError("Oversized model"),
    MemoryError(),
    ResourceExhaustedError("Graph execution error:\n\nDetected at node Conv2D defined at (most recent call last):\nOOM"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes."),
    RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
]
COUNTED = [
    ValueError("out of luck"),
    KeyError("InfeasibleArchitecture"),
    TypeError("expected InfeasibleArchitecture: got MemoryError"),
    ValueError("first line\nMemoryError: a second line\n"),
]


@pytest.mark.parametrize("error", EXCUSED)
def test_memory_and_infeasible_architectures_are_excused(error):
    assert is_excused(traced(error))
    assert is_excused(traced(error, cause=ValueError("out of luck")))


@pytest.mark.parametrize("error", COUNTED)
def test_other_errors_are_not_whatever_they_say(error):
    assert not is_excused(traced(error))
    assert not is_excused(traced(error, cause=MemoryError()))


@pytest.mark.parametrize("message", [None, "", "out of memory", "The objective 'score' was nan; expected a finite number."])
def test_what_names_no_error_is_not_excused(message):
    assert not is_excused(message)


def fail(oracle, error):
    trial = oracle.create_trial("tuner0")
    infeasible = isinstance(error, kt.errors.FailedTrialError)
    trial.status, trial.message = "FAILED" if infeasible else "INVALID", traced(error)
    oracle.end_trial(trial)


def test_excused_failures_are_passed_over_by_the_limit_and_after_a_reload_too(play):
    oracle = play.make(RandomOracle, known=True, max_trials=None, max_consecutive_failed_trials=3)
    for _ in range(4):
        fail(oracle, InfeasibleArchitecture("too small"))
    fail(oracle, ValueError("one"))
    fail(oracle, MemoryError())
    fail(oracle, ValueError("two"))
    resumed = play.make(RandomOracle, max_trials=None, max_consecutive_failed_trials=3)
    resumed.reload()
    fail(resumed, MemoryError())
    with pytest.raises(SearchFailed, match="three"):
        fail(resumed, ValueError("three"))
    fail(resumed, MemoryError())  # says nothing new
    play.step(resumed)
    fail(resumed, ValueError("one again"))


def test_a_chief_does_not_count_what_a_worker_gave_up(play):
    oracle = play.make(RandomOracle, known=True, max_consecutive_failed_trials=1)
    trial = oracle.create_trial("tuner0")
    trial.status = "FAILED"
    received = type(trial).from_proto(trial.to_proto())  # KerasTuner does not send the message
    oracle.end_trial(received)
    assert "worker" in oracle.trials["00"].message

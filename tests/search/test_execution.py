import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument
from kerasnas.search.execution import choose_execution, steps_per_execution


def compiled(**settings):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **settings)
    return model


@given(samples=st.integers(1, 10**6), batch_size=st.integers(1, 10**4))
def test_steps_of_one_execution_fit_into_an_epoch(samples, batch_size):
    steps = steps_per_execution(samples, batch_size)
    assert 1 <= steps <= 32
    assert (steps - 1) * batch_size < samples
    assert steps == 32 or steps * batch_size >= samples


def test_counts_are_checked():
    for wrong in (0, -1, 1.5, True, None):
        with pytest.raises(InvalidArgument, match="samples"):
            steps_per_execution(wrong, 10)
        with pytest.raises(InvalidArgument, match="batch_size"):
            steps_per_execution(10, wrong)


@pytest.mark.parametrize(
    ("settings", "hears_batches", "steps"),
    [({}, False, 10), ({}, True, 1), ({"steps_per_execution": 4}, False, 4)],
    ids=["as it comes", "with a listener", "already chosen"],
)
def test_steps_are_chosen_for_who_did_not_choose(settings, hears_batches, steps):
    model = compiled(**settings)
    choose_execution(model, 100, 10, hears_batches=hears_batches)
    assert model.steps_per_execution == steps


def test_xla_is_left_to_keras():
    for jit, came in (("auto", False), (False, False), (True, True)):
        model = compiled(jit_compile=jit)
        choose_execution(model, 10**6, 10, hears_batches=False)
        assert model.jit_compile is came

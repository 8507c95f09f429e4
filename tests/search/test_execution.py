import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument
from kerasnas.search.execution import choose_execution, needs_single_steps, steps_per_execution
from kerasnas.search.fit_input import steady_input


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
    ("settings", "single_steps", "steps"),
    [({}, False, 10), ({}, True, 1), ({"steps_per_execution": 4}, False, 4)],
    ids=["as it comes", "with a listener", "already chosen"],
)
def test_steps_are_chosen_for_who_did_not_choose(settings, single_steps, steps):
    model = compiled(**settings)
    choose_execution(model, 100, 10, single_steps=single_steps)
    assert model.steps_per_execution == steps


def test_xla_is_left_to_keras():
    for jit, came in (("auto", False), (False, False), (True, True)):
        model = compiled(jit_compile=jit)
        choose_execution(model, 10**6, 10, single_steps=False)
        assert model.jit_compile is came


class Nothing(keras.callbacks.Callback):
    pass


class Batch(keras.callbacks.Callback):
    def on_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callbacks", "validation_steps", "single"),
    [
        (None, None, False),
        ([Nothing(), keras.callbacks.EarlyStopping(), keras.callbacks.LambdaCallback(on_epoch_end=print)], None, False),
        ([Nothing(), [Batch()]], None, True),
        (keras.callbacks.LambdaCallback(on_train_batch_begin=print), None, True),
        ([], 5, True),
    ],
)
def test_who_counts_batches_is_known(callbacks, validation_steps, single):
    assert needs_single_steps({"callbacks": callbacks, "validation_steps": validation_steps}) is single


def test_each_fit_has_the_steps_that_it_needs():
    model, x, seen = compiled(), np.zeros((40, 2), "float32"), []
    model.evaluate(x, x[:, :1], verbose=0)
    note = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(batch))
    trained = []

    def adjust(batches, single_steps):
        choose_execution(model, batches.samples, batches.batch_size, single_steps=single_steps)

    with steady_input(model, "a", adjust=adjust):
        for callbacks in ([], [note], []):
            model.fit(x, x[:, :1], batch_size=10, verbose=0, callbacks=callbacks)
            trained.append(int(model.optimizer.iterations))
    assert seen == [0, 1, 2, 3]
    assert trained == [4, 8, 12]

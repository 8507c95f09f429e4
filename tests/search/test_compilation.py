import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from kerasnas.cost import Cost, cost_of
from kerasnas.errors import InvalidArgument
from kerasnas.search.compilation import steps_per_execution, worth_compiling

SMALL = Cost(parameters=100, macs=300_000, activation_bytes=48_000)


def chain(*parts):
    return keras.Sequential([keras.Input((28, 28, 2)), *parts, layers.Flatten(), layers.Dense(2)])


@pytest.fixture(scope="module")
def model():
    return chain(layers.Conv2D(4, 3))


def test_long_trainings_are_worth_it_and_short_ones_are_not(model):
    answers = [worth_compiling(model, SMALL, samples=8000, epochs=epochs) for epochs in range(1, 200)]
    assert answers == sorted(answers)
    assert not answers[0]
    assert answers[-1]
    # 48 kB save 0.048 ms a sample: 0.384 s an epoch against 5 s and 4 layers of 0.45 s, the input among them.
    assert answers.index(True) + 1 == 18


def test_more_layers_need_a_longer_training(model):
    deep = chain(*[layers.ReLU() for _ in range(30)])
    assert worth_compiling(model, SMALL, samples=8000, epochs=20)
    assert not worth_compiling(deep, SMALL, samples=8000, epochs=20)


@pytest.mark.parametrize(
    "part",
    [
        layers.DepthwiseConv2D(3),
        layers.SeparableConv2D(4, 3),
        layers.Conv2D(4, 3, groups=2),
        layers.RandomTranslation(0.1, 0.1),  # which XLA cannot compile
    ],
    ids=lambda part: part.name,
)
def test_what_xla_is_slow_at_is_never_worth_it(part):
    assert not worth_compiling(chain(part), SMALL, samples=10**6, epochs=10**3)
    assert not worth_compiling(chain(keras.Sequential([part])), SMALL, samples=10**6, epochs=10**3)


def test_large_convolutions_are_never_worth_it():
    model = chain(layers.Conv2D(64, 5), layers.Conv2D(64, 5))
    assert not worth_compiling(model, cost_of(model), samples=10**6, epochs=10**3)


@given(samples=st.integers(1, 10**6), batch_size=st.integers(1, 10**4))
def test_steps_of_one_execution_fit_into_an_epoch(samples, batch_size):
    steps = steps_per_execution(samples, batch_size)
    assert 1 <= steps <= 32
    assert (steps - 1) * batch_size < samples
    assert steps == 32 or steps * batch_size >= samples


def test_counts_are_checked(model):
    for wrong in (0, -1, 1.5, True, None):
        with pytest.raises(InvalidArgument, match="epochs"):
            worth_compiling(model, SMALL, samples=1, epochs=wrong)
        with pytest.raises(InvalidArgument, match="batch_size"):
            steps_per_execution(10, wrong)

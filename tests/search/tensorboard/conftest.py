"""A log of TensorBoard, and what its own readers find in it."""

import keras
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from kerasnas.search.tensorboard import TensorBoardLog

SPACE = (
    {"kind": "Int", "name": "units", "min_value": 2, "max_value": 40, "step": 1},
    {"kind": "Float", "name": "rate", "min_value": 1e-3, "max_value": 0.1, "sampling": "log"},
    {"kind": "Choice", "name": "activation", "values": ["relu", "tanh"]},
    {"kind": "Choice", "name": "kernel", "values": [3, 5]},
    {"kind": "Boolean", "name": "norm"},
    {"kind": "Fixed", "name": "version", "value": 7},
)


class Shown:
    """What TensorBoard shows of a file or a folder of them."""

    def __init__(self, path):
        self.accumulator = EventAccumulator(str(path), size_guidance={"tensors": 0})
        self.accumulator.Reload()

    @property
    def tags(self):
        return self.accumulator.Tags()["tensors"]

    def arrays(self, tag):
        """Step and array of each event of a tag."""
        return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in self.accumulator.Tensors(tag)]

    def scalars(self, tag):
        return [(step, float(value)) for step, value in self.arrays(tag)]

    def graph(self):
        return self.accumulator.Graph()


@pytest.fixture
def read():
    return Shown


@pytest.fixture
def values():
    """A configuration of the space of the log."""
    return {"units": 8, "rate": 0.01, "activation": "tanh", "kernel": 5, "norm": True, "version": 7}


@pytest.fixture
def open_log(tmp_path):
    """Open the log of a search; again, as a search that goes on does."""
    return lambda: TensorBoardLog(tmp_path / "log", space=SPACE, objectives=["val_accuracy"])


@pytest.fixture
def log(open_log):
    return open_log()


@pytest.fixture
def network():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(5, activation="relu", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2, activation="softmax", name="scores"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

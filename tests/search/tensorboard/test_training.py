"""What a training leaves in the log: its history, and the histograms of its weights and gradients."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerasnas.search.tensorboard.gradients import LossGradients

# -- the training --


def test_scalars_are_the_history(log, network, points, tmp_path, values, read):
    x, y = points
    callback = log.callback("0003", values, x_batch=x, y_batch=y)
    history = network.fit(x, y, validation_data=(x, y), epochs=3, verbose=0, callbacks=[callback]).history
    for run, prefix in (("train", ""), ("validation", "val_")):
        shown = read(tmp_path / "log/0003" / run)
        for name in ("loss", "accuracy"):
            expected = [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in enumerate(history[prefix + name])]
            assert shown.scalars(f"epoch_{name}") == expected
    assert [value for _, value in read(tmp_path / "log/0003/train").scalars("epoch_learning_rate")] == pytest.approx([0.1] * 3)


def test_each_execution_has_its_own_runs(log, network, points, tmp_path, values):
    for execution in (0, 1):
        network.fit(*points, verbose=0, callbacks=[log.callback("0000", values, execution)])
    assert sorted(str(p.parent.relative_to(tmp_path / "log")) for p in (tmp_path / "log").rglob("events*")) == [
        "0000",
        "0000/execution_1/train",
        "0000/train",
    ]


def test_logging_does_not_change_the_training(log, network, points, values):
    x, y = points
    weights = []
    for callbacks in ([], [log.callback("0000", values, x_batch=x, y_batch=y)]):
        keras.utils.set_random_seed(5)
        model = keras.models.clone_model(network)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=3, verbose=0, callbacks=callbacks)
        weights.append([variable.numpy() for variable in model.variables])
    assert len(weights[0]) == len(weights[1]) == 9
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_training_that_goes_on_replaces_what_came_after(log, network, points, tmp_path, values, read, open_log):
    x, y = points
    network.fit(x, y, epochs=4, verbose=0, callbacks=[log.callback("0000", values, x_batch=x, y_batch=y)])
    folder = tmp_path / "log/0000/train"
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    first = read(folder).scalars("epoch_loss")
    file.write_bytes(whole[:-100])  # as if killed amid the last epoch
    file.with_name("events.out.tfevents.0000").write_bytes(whole)  # ... and before that while it replaced a file
    assert [step for step, _ in read(file).scalars("epoch_loss")] == [0, 1, 2]

    again = open_log()
    callback = again.callback("0000", values, x_batch=x, y_batch=y, first_epoch=2)
    history = network.fit(x, y, initial_epoch=2, epochs=5, verbose=0, callbacks=[callback]).history
    shown = read(folder)
    expected = first[:2] + [(step, pytest.approx(loss)) for step, loss in zip((2, 3, 4), history["loss"], strict=True)]
    assert shown.scalars("epoch_loss") == expected
    for tag in ("weights/hidden/kernel", "gradients/hidden/kernel"):
        assert [step for step, _ in shown.arrays(tag)] == [0, 1, 2, 3, 4]
    assert len(list(folder.iterdir())) == 1


def test_the_histogram_of_a_known_weight(log, points, tmp_path, values, read):
    kernel = np.array([[-1.0] * 6 + [0.0] * 3 + [2.0]] * 2)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(10, name="known")])
    model.layers[0].set_weights([kernel, np.zeros(10)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, _ = points
    model.fit(x, np.zeros((len(x), 10)), epochs=2, verbose=0, callbacks=[log.callback("0000", values)])
    shown = read(tmp_path / "log/0000/train")
    histograms = shown.arrays("weights/known/kernel")
    assert [step for step, _ in histograms] == [0, 1]
    for _, buckets in histograms:
        assert (buckets[0, 0], buckets[-1, 1]) == (-1, 2)
        assert buckets[[0, 10, -1], 2].tolist() == [12, 6, 2]
        assert buckets[:, 2].sum() == 20
    assert not [tag for tag in shown.tags if tag.startswith("gradients")]  # no batch was given


# -- gradients --

LINEAR = """
import sys
import keras, numpy as np
from kerasnas.search.tensorboard import TensorBoardLog
from kerasnas.search.tensorboard.gradients import LossGradients

rng = np.random.default_rng(0)
x, y = (rng.normal(size=shape).astype("float32") for shape in ((40, 3), (40, 2)))
w, b = (rng.normal(size=shape).astype("float32") for shape in ((3, 2), (2,)))
layer = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.3), activity_regularizer=keras.regularizers.L2(0.2))
model = keras.Sequential([keras.Input((3,)), layer])
model.compile(keras.optimizers.SGD(0.1), "mse")
gradients = LossGradients(model, x, y)
for scale in (1, 2):
    layer.set_weights([scale * w, scale * b])
    got = gradients()
    out = x @ (scale * w) + scale * b
    # The mean over 80 numbers of the squared error; Keras divides the penalty of an activity by the batch.
    slope = 2 * (out - y) / 80 + 2 * 0.2 * out / 40
    assert np.allclose(got[0], x.T @ slope + 2 * 0.3 * scale * w, atol=1e-5), got
    assert np.allclose(got[1], slope.sum(axis=0), atol=1e-5), got

stack = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization(),
                          keras.layers.Dropout(0.5), keras.layers.Dense(2)])
stack.compile("sgd", "mse")
before = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in stack.variables]
gradients = LossGradients(stack, x, y)
first, second = gradients(), gradients()
assert all(np.array_equal(a, b) for a, b in zip(first, second))  # the same dropout, since its state is left alone
assert any(np.abs(part).max() > 0 for part in first)
after = [keras.ops.convert_to_numpy(variable.value) for variable in stack.variables]
assert all(np.array_equal(a, b) for a, b in zip(before, after))

log = TensorBoardLog(sys.argv[1], space=[], objectives=["val_loss"])
callback = log.callback("0000", {}, x_batch=x, y_batch=y)
stack.fit(x, y, validation_data=(x, y), epochs=2, verbose=0, callbacks=[callback])
log.images("picture", np.zeros((1, 4, 4, 1), "uint8"), 0)
log.end_trial("0000", {}, {"val_loss": 1.0}, "COMPLETED")
assert keras.backend.backend() == "tensorflow" or "tensorflow" not in sys.modules
print("done")
"""


@pytest.mark.parametrize(
    "backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow), pytest.param("torch", marks=pytest.mark.slow)]
)
def test_gradients_in_closed_form_on_every_backend(backend, tmp_path, read):
    pytest.importorskip(backend)
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", LINEAR, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.stdout.endswith("done\n"), run.stderr
    shown = read(tmp_path / "0000/train")
    assert len(shown.arrays("epoch_loss")) == 2
    gradients = [tag for tag in shown.tags if tag.startswith("gradients/")]
    assert len(gradients) == 6
    assert len(shown.arrays(gradients[0])) == 2


def test_gradients_are_of_at_most_32_rows(log, network, points, tmp_path, values, read):
    x, y = points
    assert len(x) > 32
    network.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    network.fit(x, y, verbose=0, callbacks=[log.callback("0000", values, x_batch=x, y_batch=y)])
    hidden = LossGradients(network, x[:32], y[:32])()[0]
    ((_, buckets),) = read(tmp_path / "log/0000/train").arrays("gradients/hidden/kernel")
    assert (buckets[0, 0], buckets[-1, 1]) == pytest.approx((hidden.min(), hidden.max()))


def test_a_loss_that_cannot_be_computed_costs_only_the_gradients(log, points, tmp_path, values, read):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            return {"loss": keras.ops.mean(self(data[0]))}

    x, y = points
    model = Own()
    model.compile("sgd")
    with pytest.warns(UserWarning, match="No histograms of gradients"):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[log.callback("0000", values, x_batch=x, y_batch=y)])
    shown = read(tmp_path / "log/0000/train")
    assert len(shown.arrays("epoch_loss")) == 2
    assert not [tag for tag in shown.tags if tag.startswith("gradients")]

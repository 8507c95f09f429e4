import random
from functools import partial

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from kerasnas.errors import InvalidArgument
from kerasnas.explain import grad_cam, occlusion
from kerasnas.explain.callback import ExplainCallback


@pytest.fixture
def data(rng):
    return rng.random((24, 12, 12, 3)).astype("float32"), rng.integers(4, size=24)


def shown(folder):
    """Tag -> [(step, pictures as PNG)], as TensorBoard reads them."""
    log = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    log.Reload()
    events = {tag: log.Tensors(tag) for tag in log.Tags()["tensors"]}
    return {tag: [(e.step, tensor_util.make_ndarray(e.tensor_proto)[2:]) for e in found] for tag, found in events.items()}


def fit(model, data, callbacks, **kwargs):
    # Eager, so that Python's and NumPy's draws are of every batch, and nothing is compiled.
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(*data, batch_size=8, verbose=0, callbacks=callbacks, **kwargs)


class Noisy(keras.layers.Layer):
    """Draws from Keras' generator for draws without a seed, and from those of Python and NumPy, for each batch."""

    def call(self, x):
        return x * (1 + 0.1 * keras.random.normal(keras.ops.shape(x)) + 0.1 * random.random() + 0.1 * np.random.rand())  # noqa: NPY002


def _with_noise(model):
    inputs = keras.Input((12, 12, 3))
    return keras.Model(inputs, model(Noisy()(inputs)))


def _drawing(model, images, *, target=None):
    random.random(), np.random.rand(), keras.random.normal((3,))  # noqa: NPY002
    return grad_cam(model, images, target=target)


@pytest.mark.parametrize(
    ("method", "dtype"), [(grad_cam, "mixed_float16"), (_drawing, "float32"), (partial(occlusion, patch=6), "float32")]
)
def test_training_is_the_same_to_the_bit(cnn, data, tmp_path, method, dtype):
    def train(callbacks):
        keras.utils.set_random_seed(3)
        # It has a dropout, its batches are shuffled, and one layer draws from every global state.
        model = _with_noise(cnn()) if method is _drawing else cnn(dtype=dtype)
        fit(model, data, callbacks, epochs=2)
        variables = [*model.variables, *model.optimizer.variables]
        return [np.asarray(v.value) for v in variables], random.random(), np.random.rand()  # noqa: NPY002

    expected, *states = train([])
    got, *after = train([ExplainCallback(data[0][:2], method=method, log_dir=tmp_path, folder=tmp_path / "png")])
    assert len(list((tmp_path / "png").glob("*.png"))) == 2  # it did explain
    assert after == states
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tensorboard_and_files_hold_what_the_method_says_of_the_model_after_the_epoch(cnn, data, tmp_path):
    images, model, expected = data[0][:3], cnn(), {}
    later = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: expected.update({e: grad_cam(model, images, target=2)}))
    watch = ExplainCallback(images, target=2, log_dir=tmp_path / "log", every=2, folder=tmp_path / "png")
    fit(model, data, [watch, later], epochs=5)
    assert sorted(file.name for file in (tmp_path / "png").iterdir()) == ["epoch_0002.png", "epoch_0004.png"]
    found = shown(tmp_path / "log" / "explain" / "grad_cam")
    assert [step for step, _ in found["grad_cam"]] == [1, 3]
    assert [step for step, _ in found["images"]] == [1]
    for step, pictures in found["grad_cam"]:
        decoded = np.stack([_decode(picture) for picture in pictures])
        np.testing.assert_array_equal(decoded, expected[step].to_image())
        file = tmp_path / f"again_{step}.png"
        expected[step].save(file)
        assert file.read_bytes() == (tmp_path / "png" / f"epoch_{step + 1:04d}.png").read_bytes()


def _decode(png):
    import io

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_it_goes_on_in_a_second_fit(cnn, data, tmp_path):
    model, watch = cnn(), ExplainCallback(data[0][:1], log_dir=tmp_path)
    fit(model, data, [watch], epochs=1)
    fit(model, data, [watch], epochs=3, initial_epoch=1)
    steps = sorted(step for file in (tmp_path / "explain" / "grad_cam").iterdir() for step, _ in shown(file)["grad_cam"])
    assert steps == [0, 1, 2]


def test_an_error_warns_once_and_training_goes_on(cnn, data, tmp_path):
    calls = []

    def failing(model, images, *, target=None):
        calls.append(target)
        raise RuntimeError("out of colours")

    model = cnn()
    epochs = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: calls.append(e))
    with pytest.warns(UserWarning, match="epoch 1 on.*out of colours") as caught:
        fit(model, data, [ExplainCallback(data[0][:2], method=failing, log_dir=tmp_path), epochs], epochs=3)
    assert len([w for w in caught if "No explanations" in str(w.message)]) == 1
    assert calls == [None, 0, 1, 2]


def test_images_that_do_not_fit_the_model_warn_too(cnn, data, tmp_path):
    with pytest.warns(UserWarning, match="No explanations from epoch 1 on"):
        fit(cnn(), data, [ExplainCallback(np.zeros((2, 5, 5, 3)), log_dir=tmp_path)], epochs=2)


def test_an_interruption_is_no_failed_explanation(cnn, data, tmp_path):
    def interrupted(model, images, *, target=None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(cnn(), data, [ExplainCallback(data[0][:2], method=interrupted, log_dir=tmp_path)], epochs=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((0, 8, 8, 3))}, "images of shape"),
        ({"images": np.zeros(8)}, "images of shape"),
        ({"every": 0}, "every to be a whole number"),
        ({"every": 1.5}, "every to be a whole number"),
        ({"every": True}, "every to be a whole number"),
        ({"method": "grad_cam"}, "a function such as grad_cam"),
        ({"log_dir": None}, "log_dir or folder"),
    ],
)
def test_wrong_arguments_are_told_at_once(change, message):
    arguments = {"images": np.zeros((2, 8, 8, 3)), "log_dir": "logs", **change}
    with pytest.raises(InvalidArgument, match=message):
        ExplainCallback(arguments.pop("images"), **arguments)


def test_two_methods_write_beside_each_other_and_go_on(cnn, data, tmp_path):
    model, methods = cnn(), (grad_cam, partial(occlusion, patch=6))
    for first, last in ((0, 2), (2, 3)):  # the second is another process
        watches = [ExplainCallback(data[0][:1], method=method, log_dir=tmp_path) for method in methods]
        fit(model, data, watches, epochs=last, initial_epoch=first)
    for name in ("grad_cam", "occlusion"):
        assert [step for step, _ in shown(tmp_path / "explain" / name)[name]] == [0, 1, 2]

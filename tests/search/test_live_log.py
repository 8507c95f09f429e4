"""The TensorBoard logs of a search."""

import sys

import cloudpickle
import keras
import numpy as np
import pytest
from keras import layers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = ("epoch_loss", "epoch_accuracy")


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    return events


def curve(folder, tag):
    from tensorboard.util import tensor_util

    return [float(tensor_util.make_ndarray(e.tensor_proto)) for e in read(folder).Tensors(tag)]


def pictures(hp):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(hp.Int("filters", 2, 9), 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.slow
def test_what_a_search_logs(make, tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6, 6, 1)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype("int32")
    tuner = make(pictures, objective="val_loss", max_trials=2, tensorboard=True)
    tuner.search(x, y, validation_data=(x, y), epochs=3, verbose=0)
    logs = tmp_path / "p" / "tensorboard"
    for trial in tuner.record().trials:
        for tag in TAGS:
            name = tag.removeprefix("epoch_")
            assert curve(logs / trial.trial_id / "train", tag) == pytest.approx(trial.curves[0][name])
            assert curve(logs / trial.trial_id / "validation", tag) == pytest.approx(trial.curves[0][f"val_{name}"])
        tags = read(logs / trial.trial_id / "train").Tags()["tensors"]
        assert any(tag.startswith("gradients/") for tag in tags)
        assert any(tag.startswith("weights/") for tag in tags)
    scores = [trial.score for trial in tuner.record().trials]
    best = [number for number in (1, 2) if scores[number - 1] == min(scores[:number])]
    assert [event.step for event in read(logs / "incumbent").Tensors("grad_cam")] == best  # numbered as trials are, from 1


@pytest.mark.slow
def test_trials_in_a_process_of_their_own_are_logged_too(make, small, points, tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules[small.__module__])
    tuner = make(small(), objective="val_loss", max_trials=1, tensorboard=True, isolate=True)
    tuner.search(*points, validation_data=points, epochs=2, verbose=0)
    (trial,) = tuner.record().trials
    assert trial.status == "COMPLETED"
    assert curve(tmp_path / "p" / "tensorboard" / trial.trial_id / "train", "epoch_loss") == pytest.approx(
        trial.curves[0]["loss"]
    )

"""From which trials a search takes weights."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas import NASTuner
from kerasnas.oracles import RandomOracle
from kerasnas.search import trial_training
from kerasnas.search.best_epoch import load_weights


@pytest.mark.parametrize("late", [False, True], ids=["before", "as they are read"])
def test_a_donor_whose_weights_another_worker_has_dropped_is_done_without(late, tmp_path, monkeypatch):
    def build(hp):
        units = hp.Int("units", 2, 40)
        model = keras.Sequential([keras.Input((2,)), layers.Dense(units, "relu"), layers.Dense(2, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    chosen = []

    class Shared(NASTuner):
        def on_trial_begin(self, trial):
            super().on_trial_begin(trial)
            chosen.append(self._donor is not None)
            if not late:
                drop()

    def drop():  # as another worker does, whose trial was better
        for file in tmp_path.rglob("checkpoint.weights.h5"):
            file.unlink()

    def load(model, path):
        drop()
        load_weights(model, path)

    monkeypatch.setattr(trial_training, "load_weights", load)
    oracle = RandomOracle(objective="val_accuracy", max_trials=4, seed=0)
    tuner = Shared(build, oracle, inherit=True, directory=tmp_path, project_name="p")
    x = np.random.default_rng(0).normal(size=(48, 2)).astype("float32")
    data = x, (x.sum(axis=1) > 0).astype("int32")
    tuner.search(*data, validation_data=data, epochs=1, verbose=0)
    assert any(chosen)
    assert [(trial.status, trial.inherited) for trial in tuner.record().trials] == [("COMPLETED", None)] * 4

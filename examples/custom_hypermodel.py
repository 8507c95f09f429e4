"""A HyperModel of your own, searched by kerasnas's oracle in KerasTuner's own Tuner."""

import keras
import keras_tuner as kt
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from kerasnas import SearchRecord
from kerasnas.oracles import ReinforceOracle


class DenseNet(kt.HyperModel):
    """Dense layers with or without dropout, for 13 chemical measurements of wines."""

    def build(self, hp: kt.HyperParameters) -> keras.Model:
        """Return the compiled model that `hp` describes."""
        model = keras.Sequential([keras.Input((13,))])
        for i in range(hp.Int("layers", 1, 2)):
            model.add(
                keras.layers.Dense(hp.Choice(f"units_{i}", [8, 16, 32]), activation=hp.Choice("activation", ["relu", "tanh"]))
            )
        if hp.Boolean("dropout"):
            with hp.conditional_scope("dropout", [True]):
                model.add(keras.layers.Dropout(hp.Float("rate", 0.1, 0.5)))
        model.add(keras.layers.Dense(3, activation="softmax"))
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


x, y = load_wine(return_X_y=True)
x, x_valid, y, y_valid = train_test_split(scale(x), y, test_size=0.3, random_state=0, stratify=y)
oracle = ReinforceOracle(objective="val_accuracy", max_trials=5, seed=0)
tuner = kt.Tuner(oracle, DenseNet(), directory="searches", project_name="wine")
tuner.search(x, y, validation_data=(x_valid, y_valid), epochs=10, verbose=0)
# kerasnas reads the folder of any KerasTuner search.
record = SearchRecord.load("searches/wine")
print(record.to_dataframe()[["trial_id", "score", "layers", "learning_rate"]])
print("best:", record.best.score, dict(record.best.values))

"""Initial points and earlier searches in spaces that only loops tell of."""

import keras
import keras_tuner as kt
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.oracles import RandomOracle
from kerasnas.record import SearchRecord
from kerasnas.search import NASTuner


class Loop(kt.HyperModel):
    """As in KerasTuner's introduction: how many layers there are decides what is asked for."""

    def __init__(self, most=6):
        super().__init__()
        self.most = most

    def build(self, hp):
        model = keras.Sequential([keras.Input((2,))])
        for i in range(hp.Int("layers", 1, self.most)):
            model.add(keras.layers.Dense(hp.Int(f"units_{i}", 2, 8)))
        model.add(keras.layers.Dense(1))
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        return {"score": float(len(model.layers))}


def search(folder, name, most=6, **settings):
    oracle = RandomOracle(objective=kt.Objective("score", "max"), max_trials=2, seed=0, **settings)
    tuner = NASTuner(Loop(most), oracle, directory=folder, project_name=name, tensorboard=False)
    tuner.search(verbose=0)
    return [trial.values for trial in SearchRecord.load(folder / name).trials]


POINT = {"layers": 3, "units_0": 4, "units_1": 5, "units_2": 6}


def test_a_point_may_name_what_only_its_own_network_asks_for(tmp_path):
    assert search(tmp_path, "first", initial_points=[POINT])[0] == POINT


def test_a_winner_of_an_earlier_search_is_tried_whole(tmp_path):
    search(tmp_path, "earlier", initial_points=[POINT])
    again = search(tmp_path, "again", warm_start=SearchRecord.load(tmp_path / "earlier"))
    assert any(POINT.items() <= values.items() for values in again)


def test_an_earlier_search_of_a_wider_space_does_not_widen_this_one(tmp_path):
    search(tmp_path, "earlier", initial_points=[POINT])
    search(tmp_path, "narrow", most=2, warm_start=SearchRecord.load(tmp_path / "earlier"))
    names = {entry["name"] for entry in SearchRecord.load(tmp_path / "narrow").space}
    assert names <= {"layers", "units_0", "units_1"}


def test_why_the_network_of_a_point_cannot_be_built_is_told(tmp_path):
    class Fragile(Loop):
        def build(self, hp):
            if hp.values.get("layers") == 3:
                raise ValueError("three layers")
            return super().build(hp)

    oracle = RandomOracle(objective=kt.Objective("score", "max"), initial_points=[POINT])
    with pytest.warns(UserWarning, match="cannot be built: three layers"):
        NASTuner(Fragile(), oracle, directory=tmp_path, project_name="p")


def test_a_name_that_nothing_asks_for_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match=r"'units_4', which is not in the space"):
        search(tmp_path, "wrong", initial_points=[POINT | {"units_4": 3}])

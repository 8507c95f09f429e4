"""A search that is resumed: nothing is lost, nothing is done twice."""

import warnings
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from actions import raises

from kerasnas.errors import InvalidArgument
from kerasnas.oracles import RandomOracle, ReinforceOracle


def summary(record):
    return [(t.trial_id, t.status, t.score, dict(t.values)) for t in record.trials]


@pytest.mark.parametrize("lost", ["tuner0.json", "oracle.json", "search.json"])
@pytest.mark.parametrize("damage", [None, "", "{ half"])
def test_a_lost_file_loses_no_trial(lost, damage, make, tmp_path):
    make(max_trials=3).search(verbose=0)
    before = summary(make(max_trials=3).record())
    file = tmp_path / "p" / lost
    file.unlink() if damage is None else file.write_text(damage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tuner = make(max_trials=5)
        tuner.search(verbose=0)
        after = summary(tuner.record())
    assert after[:3] == before
    assert [status for _, status, _, _ in after] == ["COMPLETED"] * 5


@pytest.mark.parametrize(("oracle", "stop"), [(RandomOracle, 0), (RandomOracle, 3), (ReinforceOracle, 0), (ReinforceOracle, 4)])
def test_resuming_repeats_nothing_and_ends_as_the_uninterrupted_search(oracle, stop, make, fake):
    whole = make(fake(), oracle=oracle, max_trials=6, project_name="whole")
    whole.search(verbose=0)

    first = fake({stop: raises(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        make(first, oracle=oracle, max_trials=6).search(verbose=0)
    second = fake()
    resumed = make(second, oracle=oracle, max_trials=6, seed=77)  # the seed on disk counts
    resumed.search(verbose=0)
    assert summary(resumed.record()) == summary(whole.record())
    assert first.fitted[:stop] + second.fitted == [dict(t.values) for t in whole.record().trials]


def test_a_finished_search_does_nothing_more(make, fake):
    make().search(verbose=0)
    again = fake()
    tuner = make(again)
    tuner.search(verbose=0)
    assert again.fitted == []


def test_more_trials_go_on_from_where_a_search_ended(make, fake):
    whole = make(max_trials=12, project_name="whole")
    whole.search(verbose=0)
    make(max_trials=3).search(verbose=0)
    more = make(max_trials=12)
    more.search(verbose=0)
    # The ids have one digit, then two: their order is that of the numbers.
    assert [int(t.trial_id) for t in more.record().trials] == list(range(12))
    assert [t.values for t in more.record().trials] == [t.values for t in whole.record().trials]


def test_overwrite_begins_anew(make, fake):
    make().search(verbose=0)
    again = fake()
    tuner = make(again, overwrite=True, seed=1)
    tuner.search(verbose=0)
    assert len(again.fitted) == 4
    assert [dict(t.values) for t in tuner.record().trials] == again.fitted


def test_a_search_that_ends_before_the_tuner_is_saved_keeps_its_first_trial(make, fake, tmp_path, monkeypatch):
    # As if killed between the oracle's write of the ended trial and the tuner's own.
    tuner = make(max_trials=3)
    monkeypatch.setattr(
        kt.Tuner, "on_trial_end", lambda self, trial: (self.oracle.end_trial(trial), raises(KeyboardInterrupt())())
    )
    with pytest.raises(KeyboardInterrupt):
        tuner.search(verbose=0)
    monkeypatch.undo()
    again = fake()
    make(again, max_trials=3).search(verbose=0)
    assert len(again.fitted) == 2


def test_a_resumed_search_prints_no_name_of_a_file(make, capsys):
    make(max_trials=1).search(verbose=0)
    make(max_trials=1)
    assert capsys.readouterr().out == ""


def test_a_tuner_that_was_made_before_another_one_went_on_does_not_go_over_its_trials(make):
    first, second, third = make(max_trials=3), make(max_trials=5), make(max_trials=5)
    first.search(verbose=0)
    before = {path: path.read_bytes() for path in Path(first.project_dir).rglob("*.json")}
    with pytest.raises(InvalidArgument, match="went on in another process since this tuner was made"):
        second.search(verbose=0)
    assert {path: path.read_bytes() for path in Path(first.project_dir).rglob("*.json")} == before
    make(max_trials=5).search(verbose=0)
    with pytest.raises(InvalidArgument, match="went on in another process"):
        third.search(verbose=0)
    assert len(first.record().completed) == 5


def test_what_only_a_killed_process_can_have_left_goes(make):
    tuner = make(max_trials=1)
    tuner.search(verbose=0)
    folder = Path(tuner.project_dir)
    (trial,) = folder.glob("trial_*")
    left = [folder / ".data.k3_x9abc", folder / ".oracle.json.abcdefgh", trial / ".epoch_state.npz.12345678"]
    for draft in left:
        draft.mkdir()
        (draft / "large").write_bytes(b"x")
    (folder / ".mine").mkdir()
    make(max_trials=2).search(verbose=0)
    assert not any(draft.exists() for draft in left)
    assert (folder / ".mine").exists()


def test_what_is_no_trial_of_the_search_is_left_alone(make):
    make(max_trials=2).search(verbose=0)
    folder = Path(make(max_trials=3).project_dir)
    copy = folder / "trial_20240101"
    copy.mkdir()
    (copy / "trial.json").write_bytes((folder / "trial_0" / "trial.json").read_bytes())
    with pytest.warns(UserWarning, match="no trial of this search"):
        tuner = make(max_trials=3)
    tuner.search(verbose=0)
    tuner.search(verbose=0)  # and once more with the same tuner
    assert (copy / "trial.json").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorFlow's, said again by pytest.warns
def test_a_trial_that_is_compiled_with_another_optimizer_begins_anew(make, small, points):
    class Compiles(small):
        optimizer = "adam"

        def fit(self, hp, model, *args, callbacks, **kwargs):
            if self.optimizer == "adam":
                callbacks = [*callbacks, keras.callbacks.LambdaCallback(on_epoch_begin=broken)]
            model.compile(self.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model.fit(*args, callbacks=callbacks, **kwargs)

    def broken(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    settings = {"validation_data": points, "epochs": 3, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        make(Compiles(), objective="val_loss", max_trials=1).search(*points, **settings)
    Compiles.optimizer = "sgd"
    again = make(Compiles(), objective="val_loss", max_trials=1)
    with pytest.warns(UserWarning, match="begins again at its first epoch: it has"):
        again.search(*points, **settings)
    whole = make(Compiles(), objective="val_loss", max_trials=1, project_name="whole")
    whole.search(*points, **settings)
    (trial,), (expected,) = again.record().trials, whole.record().trials
    assert [dict(curve) for curve in trial.curves] == [dict(curve) for curve in expected.curves]

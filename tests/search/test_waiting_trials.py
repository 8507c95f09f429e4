import json
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasnas.stopping import ASHA, LearningCurve, Stop, StoppingRule

EPOCHS = 4


class Later(StoppingRule):
    """Stops the first trial after two epochs, and takes it up when another one has ended."""

    def should_stop(self, curve, others, *, epochs):
        return Stop("later", "wait", {}) if len(curve) == 2 and not others else None

    def take_up(self, curves, waiting, *, epochs):
        assert waiting == [0]
        return 0 if len(curves) >= 2 else None


class Interrupts(keras.callbacks.Callback):
    """Ends the process, as it were, before an epoch, counted over all trials; copies count together."""

    left = None
    begun = None

    def on_epoch_begin(self, epoch, logs=None):
        if Interrupts.left is not None:
            Interrupts.left -= 1
            if Interrupts.left < 0:
                raise KeyboardInterrupt
        Interrupts.begun.append((self.model.layers[0].units, epoch))


def search(tuner, points, interrupt=None):
    Interrupts.left = interrupt
    Interrupts.begun = []
    data = {"validation_data": points, "epochs": EPOCHS, "batch_size": 16}
    tuner.search(*points, callbacks=[Interrupts()], verbose=0, **data)


def facts(tuner):
    trials = tuner.record().trials
    weights = [tuner.load_model(trial).get_weights() for trial in tuner.oracle.get_best_trials(3)]
    return [(dict(t.values), t.status, t.score, t.best_epoch, t.curves, dict(t.metrics)) for t in trials], weights


def equal(a, b):
    return a[0] == b[0] and all(
        np.array_equal(v, w) for x, y in zip(a[1], b[1], strict=True) for v, w in zip(x, y, strict=True)
    )


def left(tuner):
    return [file for name in ("epoch_state.npz", "taken_up.json") for file in Path(tuner.project_dir).rglob(name)]


@pytest.fixture
def waits(make, small):
    """Make a tuner whose first trial waits while the second one is trained."""

    def waits(hypermodel=None, stopping=None, **kwargs):
        return make(hypermodel or small(), objective="val_loss", max_trials=3, **({"stopping": stopping or Later()} | kwargs))

    return waits


@pytest.fixture
def plain(make, small, points):
    """A search in which nothing is stopped."""
    tuner = make(small(), objective="val_loss", max_trials=3, project_name="plain")
    search(tuner, points)
    return facts(tuner)


def test_a_trial_that_is_taken_up_ends_as_if_it_had_not_been_stopped(waits, plain, points):
    tuner = waits()
    search(tuner, points)
    assert equal(facts(tuner), plain)
    assert [t.stopped for t in tuner.record().trials] == [None] * 3
    assert tuner.oracle.end_order == ["0", "1", "2"]
    assert not left(tuner)


@pytest.mark.slow
def test_killed_anywhere_a_search_goes_on_in_the_order_that_it_would_have_had(waits, plain, points):
    units = [values["units"] for values, *_ in plain[0]]
    parts = [(0, range(2)), (1, range(4)), (0, range(2, 4)), (2, range(4))]
    whole = [(units[trial], epoch) for trial, epochs in parts for epoch in epochs]
    for interrupt in (3, 6, 7):
        tuner = waits(project_name=str(interrupt))
        with pytest.raises(KeyboardInterrupt):
            search(tuner, points, interrupt)
        begun = list(Interrupts.begun)
        tuner = waits(project_name=str(interrupt))
        search(tuner, points)
        assert begun + Interrupts.begun == whole
        assert equal(facts(tuner), plain)
        assert not left(tuner)


@pytest.mark.parametrize("file", ["taken_up.json", "epoch_state.npz"])
def test_a_kill_while_what_it_needed_is_removed(waits, plain, points, monkeypatch, file):
    tuner, unlink = waits(), Path.unlink

    def killed(self, *args, **kwargs):
        if self.name == file and Interrupts.begun[-1][1] == 3 and self.parent.name == "trial_0":
            raise KeyboardInterrupt
        unlink(self, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        search(tuner, points)
    monkeypatch.undo()
    tuner = waits()
    search(tuner, points)
    assert (Interrupts.begun[0][1], len(Interrupts.begun)) == (0, 4)
    assert equal(facts(tuner), plain)
    assert not left(tuner)


def test_a_word_that_it_was_taken_up_is_nothing_without_its_state(waits, points):
    tuner = waits()
    search(tuner, points)
    before = facts(tuner)
    (Path(tuner.get_trial_dir("0")) / "taken_up.json").write_text('{"epochs": 2}')
    tuner = waits()
    search(tuner, points)
    assert not Interrupts.begun
    assert equal(facts(tuner), before)
    assert not left(tuner)


def test_without_its_rule_it_ends_if_it_was_under_way_and_waits_no_more_if_not(waits, plain, points):
    for interrupt, epochs in ((7, 4), (3, 2)):
        with pytest.raises(KeyboardInterrupt):
            search(waits(project_name=str(epochs)), points, interrupt)
        tuner = waits(project_name=str(epochs), stopping=LearningCurve())
        search(tuner, points)
        assert [t.epochs for t in tuner.record().trials] == [epochs, 4, 4]
        assert not left(tuner)
        assert equal(facts(tuner), plain) == (epochs == 4)


class Ends(keras.callbacks.Callback):
    """Ends each training after two epochs."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 1


@pytest.mark.parametrize("own", [False, True])
def test_what_ended_by_itself_is_not_taken_up(waits, small, points, own):
    class Own(small):
        def fit(self, hp, model, *args, callbacks, **kwargs):
            return model.fit(*args, callbacks=[*callbacks, Ends()] if own else callbacks, **kwargs)

    class Any(Later):
        def take_up(self, curves, waiting, *, epochs):
            return waiting[0]

    tuner = waits(Own(), Any())
    tuner.search(*points, validation_data=points, epochs=EPOCHS, callbacks=[] if own else [Ends()], verbose=0)
    assert [(t.epochs, t.stopped) for t in tuner.record().trials] == [(2, None)] * 3


def test_until_it_is_taken_up_its_score_is_that_of_its_epochs(make, small, points, capsys):
    class Never(Later):
        def take_up(self, curves, waiting, *, epochs):
            return None

    tuner = make(small(), objective="val_loss", max_trials=3, stopping=Never())
    search(tuner, points)
    first = tuner.record().trials[0]
    assert first.epochs == 2
    assert first.score == min(first.curves[0]["val_loss"])
    Interrupts.left, Interrupts.begun = None, []
    again = make(small(), objective="val_loss", max_trials=3, project_name="q", stopping=Later())
    again.search(*points, validation_data=points, epochs=EPOCHS, batch_size=16)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert [line.split("/")[0] for line in lines] == ["trial 1", "trial 2", "trial 1", "trial 3"]
    assert lines[2].endswith("taken up again")


def test_a_failure_leaves_what_it_had_and_is_told(waits, points, capsys):
    class Fails(keras.callbacks.Callback):
        """Interrupts the trial that goes on, and lets it fail when it does so again."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3 and len(begun) > 6 and errors:
                raise errors.pop(0)
            begun.append(epoch)

        def __deepcopy__(self, memo):
            return Fails()

    begun, errors = [], [KeyboardInterrupt(), MemoryError("no room")]
    tuner = waits()
    data = {"validation_data": points, "epochs": EPOCHS, "batch_size": 16, "callbacks": [Fails()]}
    with pytest.raises(KeyboardInterrupt):
        tuner.search(*points, **data)
    known = tuner.oracle.trials["0"]
    before = known.score, set(known.metrics.metrics)
    assert "val_loss" in before[1]
    capsys.readouterr()
    tuner.search(*points, **data)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial 1/")]
    assert begun == [0, 1, 0, 1, 2, 3, 2, 0, 1, 2, 3]
    assert len(lines) == 1
    assert "stopped after epoch 2: wait, could not go on: " in lines[0]
    assert "no room" in lines[0]
    first = tuner.record().trials[0]
    assert (first.status, first.epochs, first.stopped["rule"]) == ("COMPLETED", 2, "later")
    assert (first.score, set(first.metrics)) == before
    assert first.score == min(first.curves[0]["val_loss"])
    assert "no room" in json.loads((Path(tuner.get_trial_dir("0")) / "history.json").read_text())["message"]
    assert not left(tuner)


def test_asha_in_a_search(make, small, points):
    tuner = make(small(), objective="val_loss", max_trials=9, stopping=ASHA(3))
    search(tuner, points)
    trials = tuner.record().trials
    assert len(trials) == 9
    for rung in ASHA(3).rungs(EPOCHS):
        reached = [t for t in trials if t.epochs >= rung]
        reached.sort(key=lambda t: min(t.curves[0]["val_loss"][:rung]))
        assert all(t.epochs > rung for t in reached[: len(reached) // 3])


@pytest.mark.parametrize("how", ["initial epoch", "by position", "its own fit"])
def test_a_trial_is_taken_up_however_its_epochs_are_told(waits, small, points, how):
    class Told(Later):
        def take_up(self, curves, waiting, *, epochs):
            assert epochs == (EPOCHS + 1 if how == "initial epoch" else EPOCHS)
            return super().take_up(curves, waiting, epochs=epochs)

    class Own(small):
        def fit(self, hp, model, *args, **kwargs):
            return model.fit(*args, epochs=EPOCHS, **kwargs)

    tuner = waits(Own() if how == "its own fit" else small(), stopping=Told())
    arguments, settings = points, {"validation_data": points, "verbose": 0}
    if how == "initial epoch":
        settings |= {"initial_epoch": 1, "epochs": EPOCHS + 1}
    elif how == "by position":
        arguments = (*points, 16, EPOCHS)
    tuner.search(*arguments, **settings)
    assert [(t.status, t.epochs, t.stopped) for t in tuner.record().trials] == [("COMPLETED", EPOCHS, None)] * 3
    assert not left(tuner)

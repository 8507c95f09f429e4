import keras
import numpy as np
import pytest

from kerasnas.stopping import ASHA, Stop, StoppingRule

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

    def on_epoch_begin(self, epoch, logs=None):
        if Interrupts.left is not None:
            Interrupts.left -= 1
            if Interrupts.left < 0:
                raise KeyboardInterrupt


def search(tuner, points, interrupt=None):
    Interrupts.left = interrupt
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


@pytest.mark.parametrize("interrupt", [None, 7])
def test_a_trial_that_is_taken_up_ends_as_if_it_had_not_been_stopped(make, small, points, tmp_path, interrupt):
    plain = make(small(), objective="val_loss", max_trials=3, project_name="plain")
    search(plain, points)
    tuner = make(small(), objective="val_loss", max_trials=3, stopping=Later())
    if interrupt is not None:  # the epochs of the trials are 2 and 4, then 2 more of the first one
        with pytest.raises(KeyboardInterrupt):
            search(tuner, points, interrupt)
        assert [t.epochs for t in tuner.record().trials] == [3, 4]
        tuner = make(small(), objective="val_loss", max_trials=3, stopping=Later())
    search(tuner, points)
    assert equal(facts(tuner), facts(plain))
    assert [t.stopped for t in tuner.record().trials] == [None] * 3
    assert tuner.oracle.end_order == ["0", "1", "2"]
    assert not [file for name in ("epoch_state.npz", "taken_up.json") for file in (tmp_path / "p").rglob(name)]


def test_until_it_is_taken_up_its_score_is_that_of_its_epochs(make, small, points, capsys):
    class Never(Later):
        def take_up(self, curves, waiting, *, epochs):
            return None

    tuner = make(small(), objective="val_loss", max_trials=3, stopping=Never())
    search(tuner, points)
    first = tuner.record().trials[0]
    assert first.epochs == 2
    assert first.score == min(first.curves[0]["val_loss"])
    Interrupts.left = None
    again = make(small(), objective="val_loss", max_trials=3, project_name="q", stopping=Later())
    again.search(*points, validation_data=points, epochs=EPOCHS, batch_size=16)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert [line.split("/")[0] for line in lines] == ["trial 1", "trial 2", "trial 1", "trial 3"]
    assert lines[2].endswith("taken up again")


def test_a_failure_leaves_the_score_that_it_had(make, small, points):
    class Fails(small):
        calls = 0

        def fit(self, hp, model, *args, **kwargs):
            Fails.calls += 1
            if Fails.calls == 3:
                raise MemoryError("no")
            return model.fit(*args, **kwargs)

    tuner = make(Fails(), objective="val_loss", max_trials=3, stopping=Later())
    search(tuner, points)
    first = tuner.record().trials[0]
    assert Fails.calls == 4
    assert (first.status, first.epochs) == ("COMPLETED", 2)
    assert first.score == min(first.curves[0]["val_loss"])


def test_asha_in_a_search(make, small, points):
    tuner = make(small(), objective="val_loss", max_trials=9, stopping=ASHA(3))
    search(tuner, points)
    trials = tuner.record().trials
    assert len(trials) == 9
    for rung in ASHA(3).rungs(EPOCHS):
        reached = [t for t in trials if t.epochs >= rung]
        reached.sort(key=lambda t: min(t.curves[0]["val_loss"][:rung]))
        assert all(t.epochs > rung for t in reached[: len(reached) // 3])

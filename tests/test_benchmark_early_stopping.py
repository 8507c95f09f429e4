"""The benchmark of early stopping: its protocol on small tables."""

import gzip
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from kerasnas.stopping import ASHA, Stop, StoppingRule


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
        yield importlib.import_module("early_stopping")


class AtEpoch(StoppingRule):
    """Stop trials whose last value is negative after two epochs."""

    def should_stop(self, curve, others, *, epochs):
        return Stop("made up", "") if len(curve) == 2 and curve[-1, 0] < 0 else None


CURVES = np.array([[0.0, 1, 2, 3], [-3, -2, 0, 9], [-3, -2, -1, 0], [1, 1, np.nan, np.nan]])


def test_outcome_of_a_search(bench):
    outcome = bench.run(AtEpoch(), CURVES)
    assert outcome.saved == 4 / 16
    assert outcome.lost
    assert (outcome.regret, outcome.rank) == (6, 1)
    assert (outcome.stopped, outcome.leaders, outcome.false_stops) == (2, 2, 1)  # the first led, the second would have
    assert outcome.errors[:, 1].tolist() == [11, 2]


def test_workers_train_in_turn(bench):
    asked = []

    class Spy(StoppingRule):
        def should_stop(self, curve, others, *, epochs):
            asked.append((len(curve), [len(other) for other in others]))

    bench.run(Spy(), CURVES[:3], workers=2)
    assert asked[:4] == [(1, [0]), (1, [1]), (2, [1]), (2, [2])]
    assert asked[6] == (1, [4, 4])


def test_a_search_that_stops_nothing_loses_nothing(bench):
    outcome = bench.run(ASHA(min_epochs=4), CURVES, workers=2)
    assert (outcome.saved, outcome.lost, outcome.regret, outcome.rank, outcome.stopped) == (0, False, 0, 0, 0)
    assert bench.summary([outcome, outcome])["covered"] is None


def test_median_rule(bench):
    others = [np.full((4, 1), value) for value in (1.0, 2, 3, 4)]
    assert bench.Median().should_stop(np.array([[0.0]]), others, epochs=4) is None  # four are too few
    others.append(np.full((4, 1), 5.0))
    assert bench.Median().should_stop(np.array([[2.9]]), others, epochs=4) is not None
    assert bench.Median().should_stop(np.array([[3.0], [2.0]]), others, epochs=4) is None  # its best counts
    assert bench.Median().should_stop(np.array([[2.9]]), [*others, np.full((3, 1), -9.0)], epochs=4) is not None


def test_intervals(bench):
    assert bench.mean([1.0, 3.0]) == pytest.approx({"mean": 2, "half_interval": 12.706}, abs=1e-3)
    assert bench.share(1, 10) == pytest.approx({"share": 0.1, "low": 0.0179, "high": 0.4042}, abs=1e-4)


def test_tuned_and_held_out_searches_share_no_table_and_no_configuration(bench, monkeypatch):
    assert not set(bench.TUNED_ON) & set(bench.HELD_OUT)
    rows = np.arange(1000.0)[:, None]
    monkeypatch.setattr(bench, "read", lambda table: rows)
    tuned, held_out = (
        np.concatenate([bench.draw(t, s, 100) for s in range(30)]) for t in (bench.TUNED_ON[0], bench.HELD_OUT[0])
    )
    assert tuned.max() < 500 <= held_out.min()


def test_command(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERASNAS_DATA", str(tmp_path))
    bench.read.cache_clear()
    with pytest.raises(SystemExit, match="nas_bench_nlp_wt2_curves"):
        bench.read(bench.NLP)
    rng = np.random.default_rng(0)
    losses = 5 + rng.uniform(0.5, 2, (345, 1)) * np.arange(1, 51) ** -rng.uniform(0.3, 1, (345, 1))
    with gzip.open(tmp_path / "nas_bench_nlp_wt2_curves.csv.gz", "wt") as file:
        file.write(",".join(f"val_loss_{epoch}" for epoch in range(1, 51)) + "\n")
        file.writelines(",".join("" if i == 3 else f"{loss:.4f}" for loss in row) + "\n" for i, row in enumerate(losses))
    assert np.isnan(bench.read(bench.NLP)[3]).all()
    assert bench.read(bench.NLP)[0, 0] == pytest.approx(-losses[0, 0], abs=1e-4)
    out = tmp_path / "figures.json"
    arguments = ["--groups", bench.NLP, "--searches", "2", "--trials", "8", "--workers", "1", "--jobs", "1", "--out", str(out)]
    bench.main([*arguments, "--rules", "ASHA", "LearningCurve"])
    assert "NAS-Bench-NLP, 2 searches of 8 trials, 1 at a time" in capsys.readouterr().out
    ((_, figures),) = json.loads(out.read_text()).items()
    assert figures["ASHA"]["saved"]["mean"] > 0.5
    bench.read.cache_clear()

"""Project folders with damaged files: every finished trial that can be read is kept, and the search goes on to its end."""

import json
import math
import os
import re
import shutil
import warnings
from contextlib import suppress

import keras_tuner as kt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kerasnas.oracles import EvolutionOracle, RandomOracle, ReinforceOracle
from kerasnas.oracles.rejections import Rejection
from kerasnas.record import SearchRecord

DAMAGE = [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"trial_id": "01"}', b"not JSON at all", b"NaN"]


def trials(oracle):
    return [(t.trial_id, t.status, t.score, dict(t.hyperparameters.values)) for t in oracle.trials.values()]


def reloaded(play, cls=RandomOracle, match="is not whole", **kwargs):
    oracle = play.make(cls, **kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        oracle.reload()
    said = [str(warning.message) for warning in caught]
    assert any(re.search(match, message) for message in said), said
    return oracle


@pytest.mark.parametrize("damage", [None, *DAMAGE])
@pytest.mark.parametrize("cls", [RandomOracle, ReinforceOracle])
def test_without_a_readable_oracle_json_the_search_goes_on_as_if_nothing_had_been(cls, damage, play):
    whole = play.make(cls, known=True, project="whole")
    play.run(whole)
    oracle = play.make(cls, known=True)
    for _ in range(6):
        play.step(oracle)
    oracle.create_trial("tuner0")
    file = play.folder / "p" / "oracle.json"
    file.unlink() if damage is None else file.write_bytes(damage)
    resumed = reloaded(play, cls, match=r"oracle\.json")
    if damage is not None:
        assert (play.folder / "p" / "oracle.json.damaged").read_bytes() == damage
    play.run(resumed)
    assert trials(resumed) == trials(whole)
    assert play.ledger() == play.ledger("whole")
    again = play.make(cls)
    again.reload()  # mended for good: no warning


def test_the_order_of_ends_is_found_in_the_ledger(play):
    oracle = play.make(ReinforceOracle, known=True)
    running = [oracle.create_trial(f"tuner{i}") for i in range(4)]
    for i in (2, 0, 3):
        play.finish(oracle, running[i], float(i))
    (play.folder / "p" / "oracle.json").unlink()
    resumed = reloaded(play, ReinforceOracle, match="missing")
    assert resumed.end_order == ["02", "00", "03"]
    assert resumed.create_trial("tuner0").trial_id == "01"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_trial_whose_file_is_lost_is_run_again_with_the_same_values(damage, play):
    oracle = play.make(RandomOracle, known=True)
    for _ in range(5):
        play.step(oracle)
    before = trials(oracle)
    file = play.folder / "p" / "trial_02" / "trial.json"
    file.write_bytes(damage)
    resumed = reloaded(play, match=r"trial_02.trial\.json is not whole|Trial 02 .* is lost; it is run again")
    assert file.with_name("trial.json.damaged").read_bytes() == damage
    assert [t for t in trials(resumed) if t[0] != "02"] == [t for t in before if t[0] != "02"]
    trial = resumed.create_trial("tuner0")
    assert (trial.trial_id, trial.hyperparameters.values) == ("02", before[2][3])
    play.finish(resumed, trial, before[2][2])
    play.run(resumed)
    assert [t.trial_id for t in resumed.trials.values()] == [f"{i:02d}" for i in range(12)]
    assert trials(resumed)[:5] == before


@pytest.mark.parametrize("loss", ["decision", "folder", "everything"])
def test_a_trial_of_which_nothing_is_left_keeps_its_id_and_counts_as_failed(loss, play):
    oracle = play.make(RandomOracle, known=True, max_consecutive_failed_trials=1)
    for _ in range(5):
        play.step(oracle)
    before = trials(oracle)
    folder = play.folder / "p" / "trial_02"
    if loss == "decision":
        (folder / "trial.json").write_bytes(b"{")
        (folder / "decision.json").write_bytes(b"{")
    else:
        shutil.rmtree(folder)
    if loss == "everything":
        (play.folder / "p" / "oracle.json").unlink()
    resumed = reloaded(play, match="Trial 02 .* is lost; it counts as failed", max_consecutive_failed_trials=1)
    assert [t for t in trials(resumed) if t[0] != "02"] == [t for t in before if t[0] != "02"]
    assert resumed.trials["02"].status == "FAILED"
    assert "trial.json" in resumed.trials["02"].message
    assert resumed.trials["02"].hyperparameters.values == {}
    play.run(resumed)
    assert len(resumed.trials) == len({json.dumps(t[3]) for t in trials(resumed)}) == 12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decision.json stays as it is
        record = SearchRecord.load(play.folder / "p")
    assert len(record.completed) == 11


def test_a_copy_of_a_trial_is_no_trial(play):
    oracle = play.make(RandomOracle, known=True)
    play.step(oracle)
    shutil.copytree(play.folder / "p" / "trial_00", play.folder / "p" / "trial_00_backup")
    resumed = reloaded(play, match="left alone")
    assert list(resumed.trials) == ["00"]


def test_a_damaged_ledger_is_ignored_with_a_warning(play):
    oracle = play.make(RandomOracle, known=True)
    trial = oracle.create_trial("tuner0")
    file = play.folder / "p" / "trial_00" / "decision.json"
    file.write_bytes(b"{")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        play.finish(oracle, trial, 0.5)
    assert any("decision.json is not whole" in str(warning.message) for warning in caught)
    assert file.read_bytes() == b"{"
    assert oracle.trials["00"].score == 0.5


def test_parts_of_oracle_json_that_are_whole_are_kept(play):
    oracle = play.make(RandomOracle, known=True, seed=5)
    left = iter([Rejection("no")] * 3)
    oracle.screen = lambda hp: next(left, None)
    for _ in range(4):
        play.step(oracle)
    file = play.folder / "p" / "oracle.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"end_order": {"a": 1}, "display": None, "run_times": [3]}))
    resumed = reloaded(play, match="damaged in end_order, run_times, display", seed=7)
    assert resumed.seed == 5
    assert resumed.end_order == ["00", "01", "02", "03"]
    assert len(resumed._rejected) == 3
    again = play.make(RandomOracle, project="q", known=True, seed=5)
    left = iter([Rejection("no")] * 3)
    again.screen = lambda hp: next(left, None)
    assert play.run(resumed) == play.run(again)[4:]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def damages(draw):
    """Return a function from the bytes of a file to damaged ones."""
    kind = draw(st.sampled_from(["bytes", "cut", "whole", "field"]))
    if kind == "bytes":
        new = draw(st.binary(max_size=20))
        return lambda old: new
    if kind == "cut":
        share = draw(st.floats(0, 0.99))
        return lambda old: old[: int(share * len(old))]
    value = draw(json_values)
    if kind == "whole":
        return lambda old: json.dumps(value).encode()
    depth, picks = draw(st.integers(1, 6)), draw(st.lists(st.integers(0, 99), min_size=6, max_size=6))

    def replace(old):
        content = json.loads(old)
        at = content
        for level in range(depth):
            keys = sorted(at) if isinstance(at, dict) else range(len(at))
            key = list(keys)[picks[level] % len(keys)]
            if level == depth - 1 or not isinstance(at[key], dict | list) or not at[key]:
                at[key] = value
                return json.dumps(content).encode()
            at = at[key]

    return replace


FILES = ["oracle.json", *(f"trial_{i}/{name}.json" for i in range(4) for name in ("trial", "decision"))]


@pytest.mark.parametrize("several", [False, True])
def test_whatever_is_damaged_the_rest_is_kept_and_the_search_goes_on(several, play):
    objective = [kt.Objective("a", "max"), kt.Objective("b", "min")] if several else kt.Objective("score", "max")
    options = {"objective": objective, "max_trials": 6, "max_consecutive_failed_trials": 99}

    def step(oracle, fail=False):
        trial = oracle.create_trial("tuner0")
        if trial.status != "RUNNING":
            return False
        score = 0.0
        with suppress(Exception):  # values may be damaged
            score = play.declare(trial.hyperparameters)
        if fail:
            trial.status, trial.message = "FAILED", "out of luck"
        else:
            metrics = {"score": score, "a": score, "b": score**2, "multi_objective": 0.0}
            oracle.update_trial(trial.trial_id, metrics)
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
        return True

    whole = play.make(EvolutionOracle, project="whole", known=True, **options)
    left = iter([Rejection("no"), None, Rejection("the same", "0")])
    whole.screen = lambda hp: next(left, None)
    for number in range(3):
        step(whole, fail=number == 1)
    whole.create_trial("tuner0")
    before = {t[0]: t for t in trials(whole)}

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)
    @given(st.dictionaries(st.sampled_from(FILES), damages(), min_size=1, max_size=3))
    @example({name: lambda old: b"" for name in FILES})
    def check(damage):
        folder = play.folder / "p"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(play.folder / "whole", folder)
        for name, change in damage.items():
            (folder / name).write_bytes(change((folder / name).read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            SearchRecord.load(folder) if set(damage) < {f"trial_{i}/trial.json" for i in range(4)} else None
            oracle = play.make(EvolutionOracle, **options)
            oracle.reload()
            after = {t[0]: t for t in trials(oracle)}
            for trial_id, (_, status, score, values) in before.items():
                if f"trial_{trial_id}/trial.json" not in damage:
                    assert after[trial_id][1] == status
                    assert after[trial_id][3] == values
                    assert several or after[trial_id][2] == score
            while step(oracle):
                pass
            record = SearchRecord.load(folder)
        assert len(record.trials) == len(oracle.trials) == 6
        assert len(set(oracle.end_order)) == len(oracle.end_order) == 6
        assert all(t.status in ("COMPLETED", "FAILED") for t in oracle.trials.values())
        assert all(t.score is None or math.isfinite(t.score) for t in record.trials)

    check()
    assert not [name for name in os.listdir(play.folder / "p") if name.startswith(".")]


def test_a_trial_under_way_of_which_nothing_is_left_has_no_values(play):
    oracle = play.make(RandomOracle, known=True)
    play.step(oracle)
    oracle.create_trial("tuner0")
    shutil.rmtree(play.folder / "p" / "trial_01")
    resumed = reloaded(play, match="Trial 01 .* is lost; it counts as failed")
    assert (resumed.trials["01"].status, resumed.trials["01"].hyperparameters.values) == ("FAILED", {})
    (lost,) = [trial for trial in SearchRecord.load(play.folder / "p").trials if trial.trial_id == "01"]
    assert dict(lost.values) == {}


@pytest.fixture
def as_chief(monkeypatch):
    for name, value in {"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "1", "TUNER_ID": "chief"}.items():
        monkeypatch.setenv(f"KERASTUNER_{name}", value)


def test_a_chief_that_was_killed_leaves_trials_to_workers_that_live(play, as_chief):
    oracle = play.make(RandomOracle, known=True)
    first, second, third = (oracle.create_trial(f"tuner{i}").trial_id for i in range(3))
    signs = play.folder / "p" / ".workers"
    signs.mkdir()
    for i in (0, 2):
        (signs / f"tuner{i}").write_text("alive")
    resumed = play.make(RandomOracle)
    resumed.reload()
    assert {name: trial.trial_id for name, trial in resumed.ongoing_trials.items()} == {"tuner0": first, "tuner2": third}
    assert resumed.tuner_ids == {"tuner0", "tuner2"}
    assert resumed.create_trial("tuner1").trial_id == second  # of a worker that had given no sign
    ended = resumed.trials[first]
    play.finish(resumed, ended, 1.0)
    assert resumed.create_trial("tuner0").trial_id not in (first, second, third)
    assert resumed.create_trial("tuner2").trial_id == third  # that worker was started anew


def test_whoever_is_no_chief_goes_on_with_all_trials(play):
    oracle = play.make(RandomOracle, known=True)
    first = oracle.create_trial("tuner0").trial_id
    signs = play.folder / "p" / ".workers"
    signs.mkdir()
    (signs / "tuner0").write_text("alive")
    resumed = play.make(RandomOracle)
    resumed.reload()
    assert resumed.ongoing_trials == {}
    assert resumed.create_trial("tuner0").trial_id == first

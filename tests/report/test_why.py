"""Why a network won: the page says what the trials bear out, and what they do not."""

import json
import re
import sys
from dataclasses import replace

import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search import ablation_path, counterfactuals, importance, measured_path
from kerasnas.record import SearchRecord
from kerasnas.report import other_ways
from kerasnas.report import why as section
from kerasnas.report.quantities import number
from kerasnas.report.why_charts import importance_chart, path_chart

ATTACK = "<script>alert(1)</script>"
TERMS = {3: 0.0, 5: 0.3, 7: -0.1}


@pytest.fixture
def planted(project):
    """Write a random search whose score is 0.3 + a term of the kernel + rate / 10; the norm is useless."""

    def write(folder, trials=24, *, noise=0.01, names=("kernel", "rate", "norm"), good=5, direction="max", **settings):
        kernel, rate, norm = names
        hp = kt.HyperParameters()
        hp.Choice(kernel, [3, good, 7], default=3, ordered=False)
        hp.Float(rate, 0.0, 1.0, default=0.0)
        hp.Boolean(norm, default=False)
        rng = np.random.default_rng(0)
        rows = [
            {kernel: [3, good, 7][rng.integers(3)], rate: float(rng.random()), norm: bool(rng.integers(2))}
            for _ in range(trials)
        ]
        sign = 1 if direction == "max" else -1
        terms = TERMS | {good: TERMS[5]}
        scores = [0.5 + sign * (terms[row[kernel]] + row[rate] / 10 + noise * rng.normal()) for row in rows]
        project(folder, scores, direction=direction, policy=False, max_trials=None, **settings)
        for row, file in zip(rows, sorted(folder.glob("trial_*/trial.json")), strict=True):
            state = json.loads(file.read_text())
            state["hyperparameters"] = {"space": hp.get_config()["space"], "values": row}
            file.write_text(json.dumps(state))
        return folder

    return write


def part(words, start, end="All trials"):
    """Return the words from one heading to another; the first heading of that name after the navigation."""
    start = words.index(start)
    return words[start : words.index(end, start)]


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_page_tells_why_the_network_won(page_of, planted, tmp_path, direction):
    page = page_of(planted(tmp_path, direction=direction))
    assert ("a", {"href": "#why"}) in page.tags
    words = part(page.words, "Why this network won")
    assert "The search began 24 trials, and 24 came to a score." in words
    assert "prefer to the one with the best score" not in words
    importances = part(words, "Which hyperparameters mattered", "From the default")
    assert re.search(r"\bkernel\b", importances)
    assert importances.count("not told apart from chance") == 1  # of the norm
    assert len(re.findall(r"\bmatters\b", importances)) == 2
    steps = part(words, "From the default", "What if?")
    assert "kernel: 3 → 5" in steps
    assert "all together" in steps
    assert "kernel 3 → 5" in steps  # in the table
    told = words[words.index("What if?") :]
    assert re.search(r"kernel 5 7 -0\.\d+ ± 0\.0\d+ worse 3 -0\.\d+ ± 0\.0\d+ worse", told)  # worse whatever the direction
    assert told.index("kernel") < told.index("rate")  # the decision that costs most comes first
    assert "norm" in told
    record = SearchRecord.load(tmp_path)
    path = ablation_path(record)
    for step in path.steps:
        assert f"{step.gain:+.3g} ± {step.std:.2g}" in words
    assert f"{path.gain:+.3g} ± {path.std:.2g} in all" in words
    for item in counterfactuals(record).items:
        assert f"{item.difference:+.3g} ± {item.std:.2g}" in words
    assert f"trial {1 + record.trials.index(record.best)}: {number(record.best.score)}" in words
    # The numbers of a sentence are unfolded below it.
    summaries = [tag for tag, _ in page.tags].count("summary")
    assert summaries > 24 + 5
    assert re.search(r"kernel share 0\.\d+, low 0\.\d+, high 0\.\d+, p value 0\.\d+", words)


@pytest.fixture
def trained(planted):
    """Write a search and the trainings of its path: the score of each configuration is what `score` says, plus the repeat's."""

    def write(folder, score, *, repeats=(0.0,), direction="max", leave_out=0, **settings):
        planted(folder, direction=direction, **settings)
        path = ablation_path(SearchRecord.load(folder))
        sample = json.loads(min(folder.glob("trial_*/trial.json")).read_text())
        for repeat, luck in enumerate(repeats):
            project = folder / "path" / str(repeat)
            for place, values in enumerate(path.configurations[leave_out:]):
                (project / f"trial_{place}").mkdir(parents=True)
                state = sample | {"trial_id": str(place), "score": score(values) + luck * place}
                state["hyperparameters"] = sample["hyperparameters"] | {"values": dict(values)}
                (project / f"trial_{place}" / "trial.json").write_text(json.dumps(state))
            for name in ("oracle.json", "search.json"):
                if (folder / name).exists():
                    (project / name).write_text((folder / name).read_text())
        return path

    return write


@pytest.mark.parametrize("direction", ["max", "min"])
def test_what_was_trained_stands_beside_what_was_predicted(page_of, trained, tmp_path, direction):
    sign = 1 if direction == "max" else -1

    def score(values):
        return 0.5 + sign * (TERMS[values["kernel"]] + values["rate"] / 10)

    told = trained(tmp_path, score, direction=direction)
    path = measured_path(SearchRecord.load(tmp_path), tmp_path / "path")
    values = [sign * score(one) for one in told.configurations]
    np.testing.assert_allclose([step.measured for step in path.steps], np.diff(values), atol=1e-12)
    assert path.measured == pytest.approx(values[-1] - values[0])
    assert path.measured_error is None
    words = page_of(tmp_path).words
    assert "measured gain" in words
    assert f"Trained anew once, the winner gains {path.measured:+.3g} over the default" in words
    assert words.count("Single trainings differ by luck") == 2  # in the account, and beside the chart
    assert "kerasnas retrain --repeats 5" in words
    for step in path.steps:
        assert f"{step.gain:+.3g} ± {step.std:.2g} {step.measured:+.3g}" in words


def test_several_trainings_have_an_error_and_half_a_path_has_no_gains(page_of, trained, tmp_path):
    told = trained(tmp_path / "two", lambda values: 0.5, repeats=(0.0, 0.02))
    path = measured_path(SearchRecord.load(tmp_path / "two"), tmp_path / "two" / "path")
    steps = len(told.steps)
    assert path.measured == pytest.approx(0.01 * steps)  # the mean of 0 and 0.02 a step
    assert path.measured_error == pytest.approx(0.01 * steps)  # two values that differ by 0.02 n: sqrt(0.0002 n^2 / 2)
    trained(tmp_path / "half", lambda values: 0.5, leave_out=1)
    assert measured_path(SearchRecord.load(tmp_path / "half"), tmp_path / "half" / "path").measured is None
    assert "measured gain" not in page_of(tmp_path / "half").words


def test_what_could_not_be_trained_is_named_and_the_rest_told(page_of, trained, tmp_path):
    trained(tmp_path, lambda values: 0.5 + TERMS[values["kernel"]])
    lost = {"status": "FAILED", "score": None, "message": "Traceback\nMemoryError: too large"}
    found = []
    for place in (1, 0):
        file = tmp_path / "path" / "0" / f"trial_{place}" / "trial.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | lost))
        found.append(measured_path(SearchRecord.load(tmp_path), tmp_path / "path"))
        assert all(step.measured is None for step in found[-1].steps)
        words = page_of(tmp_path).words
        assert words.count("(MemoryError: too large).") == 2  # in the account, and beside the chart
        assert f"of what the change of {found[-1].steps[0].name} leads to (MemoryError" in words
    assert found[0].measured == pytest.approx(0.3)
    assert "the winner gains +0.3 over the default" in found[0].finding
    assert found[1].measured is None
    assert "could not be measured. No training succeeded of the default (MemoryError: too large), nor of" in found[1].finding


def test_that_the_search_inherited_weights_and_the_trainings_did_not_is_told(trained, tmp_path):
    trained(tmp_path, lambda values: 0.5 + TERMS[values["kernel"]])
    record = SearchRecord.load(tmp_path)
    heir = replace(record.trials[3], inherited={"trial": "01", "share": 0.5})
    other = replace(record, trials=(*record.trials[:3], heir, *record.trials[4:]))
    for one in (record, other):
        said = "began with inherited weights, and these trainings did not" in measured_path(one, tmp_path / "path").finding
        assert said == (one is other)


def test_a_gain_that_training_refutes_is_said_to_be_none(page_of, trained, tmp_path):
    trained(tmp_path / "once", lambda values: 0.5 - TERMS[values["kernel"]])
    words = page_of(tmp_path / "once").words
    assert "Trained anew once, the winner is no better than the default: -0.3" in words
    assert "From the default" in words[: words.rindex("Trained anew once")]  # and in the account before
    trained(tmp_path / "often", lambda values: 0.5 - TERMS[values["kernel"]], repeats=(0.0, 0.001))
    path = measured_path(SearchRecord.load(tmp_path / "often"), tmp_path / "often" / "path")
    assert path.finding is not None
    assert "the winner is worse than the default: -0." in path.finding
    assert path.finding in str(path)
    assert "which may be nothing" in str(replace(path, measured=0.01, measured_error=0.02).finding)
    # Two trainings of each say little of their spread: 4.3 standard errors are asked for, not 2.
    assert "which may be nothing" in str(replace(path, measured=0.085, measured_error=0.02).finding)
    assert "the winner gains +0.087 +- 0.02" in str(replace(path, measured=0.087, measured_error=0.02).finding)
    assert ablation_path(SearchRecord.load(tmp_path / "often")).finding is None


def test_what_was_trained_is_told_of_small_searches(page_of, trained, tmp_path):
    trained(tmp_path / "few", lambda values: 0.5 + TERMS[values["kernel"]], trials=6)
    assert "Trained anew once, the winner " in page_of(tmp_path / "few").words
    trained(tmp_path / "noise", lambda values: 0.5 + TERMS[values["kernel"]], trials=12, noise=10.0)
    words = page_of(tmp_path / "noise").words
    assert "from 12 trials no model of the score ranks" in words
    assert "What if?" not in words
    assert words.count("Trained anew once, the winner ") == 2  # in the account, and beside the chart
    assert "measured gain" in words


def test_what_is_not_told_apart_has_a_range_and_no_share(planted, tmp_path):
    told = importance(SearchRecord.load(planted(tmp_path, noise=0.1)), resamples=20)
    unsure = next(p for p in told.parameters if p.verdict == "not enough trials")
    chart, _ = importance_chart(told)
    assert f"{unsure.name}: anything from 0 to {100 * unsure.high:.0f} %" in chart
    assert re.search(rf"{unsure.name} +\? +\[ *0%, +{unsure.high:.0%}\]", str(told))


def test_other_measures_stand_beside_ours(page_of, planted, tmp_path, monkeypatch):
    folder = planted(tmp_path, noise=0.001)
    words = part(page_of(folder).words, "What other measures say", "From the default")
    assert "hyperparameter this page PED-ANOVA fANOVA share in the winner's gain" in words
    assert re.search(r"kernel \d+ % (0 to )?\d+ % (0 to )?\d+ % \+0\.\d+ ± ", words)
    assert "not always active" not in words  # all of them are
    assert "none of the best trials" not in words
    with monkeypatch.context() as patch:
        patch.setattr(section, "other_ways", lambda *args: {**other_ways.other_ways(*args), "conditional": True})
        told = part(page_of(folder).words, "What other measures say", "From the default")
    assert "gives 0 to a hyperparameter that none of the best trials has" in told
    monkeypatch.setattr(other_ways.importlib.util, "find_spec", lambda name: None)
    words = part(page_of(folder).words, "What other measures say", "From the default")
    assert "hyperparameter this page share in the winner's gain" in words
    assert "pip install 'kerasnas[explain]'" in words


def test_few_trials_are_told_to_be_few(page_of, planted, project, tmp_path):
    words = part(page_of(planted(tmp_path / "few", 7)).words, "Why this network won")
    assert "So far 7 trials have a score, 1 fewer than it takes" in words
    assert "What if" not in words
    statuses = ["COMPLETED", "RUNNING"]
    running = page_of(project(tmp_path / "running", scores=[0.5, None], statuses=statuses)).words
    assert "Why this network leads" in running
    assert "So far 1 trial has a score" in running
    none = page_of(project(tmp_path / "none", scores=[None, None])).words
    assert "Why this network" not in none


def test_a_running_search_is_explained_as_far_as_it_came(page_of, planted, tmp_path):
    folder = planted(tmp_path, 12)
    last = max(folder.glob("trial_*/trial.json"))
    last.write_text(json.dumps(json.loads(last.read_text()) | {"status": "RUNNING", "score": None}))
    words = part(page_of(folder).words, "Why this network leads")
    assert "Told from the 11 trials with a score alone" in words
    assert "what it says may change" in words
    assert "leads so far" in words


def test_noise_is_no_reason(page_of, planted, tmp_path):
    folder = planted(tmp_path, 12)
    rng = np.random.default_rng(5)
    for file in sorted(folder.glob("trial_*/trial.json")):
        state = json.loads(file.read_text())
        state["score"] = rng.normal()
        file.write_text(json.dumps(state))
    words = part(page_of(folder).words, "Why this network won")
    assert "no model of the score ranks trials that it has not seen" in words
    assert "From the default" not in words
    assert "What if" not in words
    assert "not told apart from chance" in words
    assert not re.search(r"\d matters", words)


def test_names_and_values_are_text_only_and_optuna_is_not_needed(page_of, planted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    names = (ATTACK, '"><img src=x onerror=alert(2)>', "$x_1$")
    page = page_of(planted(tmp_path, names=names, good=5))
    words = part(page.words, "Why this network won")
    assert "What if?" in words
    assert ATTACK in words
    assert names[1] in words
    assert words.count("$x_1$") >= 2  # no formula of it in the charts either
    assert not [tag for tag, _ in page.tags if tag in ("img", "script")]


def test_there_is_one_winner_and_its_equals_are_called_as_good(page_of, planted, tmp_path, monkeypatch):
    folder = planted(tmp_path, 16)
    best = SearchRecord.load(folder).best
    other = 0 if best.trial_id != "00" else 1
    file = folder / f"trial_{other:02d}" / "trial.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"score": best.score}))
    first, equal = sorted((1 + other, 1 + int(best.trial_id)))
    monkeypatch.setattr(SearchRecord, "preferred", property(lambda record: record.trials[equal - 1]))
    record, words = SearchRecord.load(folder), page_of(folder).words
    assert f"The winner: trial {first}" in words
    assert f"The winner is trial {first} throughout" in words
    assert f"Trial {first} won with" in words
    assert f"Trial {equal} scored the same and is as good; of equals the earliest is" in part(words, "Why this network won")
    assert dict(counterfactuals(record).winner) == dict(record.best.values)


def test_that_the_winner_was_lucky_takes_a_model_that_ranks_trials(page_of, planted, project, tmp_path, monkeypatch):
    record = SearchRecord.load(planted(tmp_path / "many", 16))
    other = next(i for i, trial in enumerate(record.trials) if trial != record.best)
    monkeypatch.setattr(SearchRecord, "preferred", property(lambda record: record.trials[other]))
    words = page_of(tmp_path / "many").words
    assert words.count(f"partly luck: all trials together expect more of trial {other + 1} (") == 2  # also in the account
    scores = [0.5, 0.9, 0.8] if other != 1 else [0.9, 0.5, 0.8]
    assert "partly luck" not in page_of(project(tmp_path / "few", scores=scores)).words


def test_of_several_objectives_it_is_told_what_matters_for_each(page_of, planted, tmp_path):
    objectives = {"val_loss": "min", "parameters": "min"}
    metrics = [{"parameters": 1000.0 + 37 * (i * 7 % 16)} for i in range(16)]
    folder = planted(tmp_path, 16, direction="min", metrics=metrics, objectives=objectives)
    words = part(page_of(folder).words, "Why this network won")
    assert "Which hyperparameters mattered for val_loss" in words
    assert "Which hyperparameters mattered for parameters" in words
    assert "What matters for val_loss beyond chance" in words
    assert "What if" not in words
    assert "over the default" not in words


def test_an_explanation_that_fails_does_not_cost_the_page_and_is_not_hidden(page_of, planted, tmp_path, monkeypatch):
    folder = planted(tmp_path, 8)

    def fail(record, trainings):
        raise ZeroDivisionError(ATTACK)

    monkeypatch.setattr(section, "measured_path", fail)
    with pytest.warns(UserWarning, match="The path from the default is left out of the page"):
        words = page_of(folder).words
    assert f"The path from the default could not be worked out (ZeroDivisionError: {ATTACK})." in words
    assert "The search began 8 trials" in words
    assert "All trials" in words
    with pytest.raises(UserWarning, match="ZeroDivisionError"):  # warnings are errors here: no mistake is overlooked
        page_of(folder)


def test_what_cannot_be_told_is_no_warning(page_of, planted, tmp_path, monkeypatch):
    def refuse(record, **options):
        raise InvalidArgument("Expected more.")

    monkeypatch.setattr(section, "importance", refuse)
    words = page_of(planted(tmp_path, 10)).words
    assert "The importance for val_accuracy cannot be told: Expected more." in words
    assert "From the default" in words or "no model of the score" in words


def test_the_charts_of_many_decisions_say_what_they_leave_out(planted, tmp_path):
    hp = kt.HyperParameters()
    for i in range(20):
        hp.Choice(f"x{i}", [0, 1], ordered=False)
    hp.Fixed("classes", 10)
    folder, rng = planted(tmp_path, 40), np.random.default_rng(1)
    for file in sorted(folder.glob("trial_*/trial.json")):
        state, row = json.loads(file.read_text()), {f"x{i}": int(rng.integers(2)) for i in range(20)} | {"classes": 10}
        state["hyperparameters"] = {"space": hp.get_config()["space"], "values": row}
        state["score"] = float(sum(row.values()) + 5 * row["x7"])
        file.write_text(json.dumps(state))
    record = SearchRecord.load(folder)
    told = importance(record, resamples=20)
    chart, left_out = importance_chart(told)
    assert left_out == 8
    assert ">x7<" in chart
    assert ">classes<" not in chart
    assert len(re.findall(r'id="importance-\d+"', chart)) == 12
    path = ablation_path(record)
    drawn = path_chart(path)
    if len(path.steps) > 12:
        assert f"{len(path.steps) - 11} more changes" in drawn
    assert len(re.findall(r'id="step-\d+"', drawn)) == min(len(path.steps), 12)

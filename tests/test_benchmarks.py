"""The benchmark of searches: its protocol on small tables, and the baselines written for it against their papers."""

import ast
import gzip
import importlib
import json
import math
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kerasnas.strategies import Discrete, RandomSearch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield


@pytest.fixture
def contenders():
    return importlib.import_module("contenders")


@pytest.fixture
def bench():
    return importlib.import_module("search_efficiency")


@pytest.fixture
def lookup():
    return importlib.import_module("lookup_tables")


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_script_takes_from_kerasnas_is_there(script):
    taken = [node for node in ast.walk(ast.parse(script.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    for node in taken:
        if (node.module or "").partition(".")[0] != "kerasnas":
            continue
        module = importlib.import_module(node.module)
        for name in node.names:
            if not hasattr(module, name.name):
                importlib.import_module(f"{node.module}.{name.name}")


def feed(search, score, count):
    """Return the first `count` choices of `search` when it is sent their scores."""
    choices = [next(search)]
    while len(choices) < count:
        choices.append(search.send(score(choices[-1])))
    return choices


def scripted(*plan):
    for choices in plan:  # noqa: UP028 - `yield from` would send the scores to the tuple
        yield choices


def digits(count, values=6):
    return tuple(Discrete(name=f"d{i}", values=tuple(str(v) for v in range(values))) for i in range(count))


def differences(one, other):
    return sum(one[name] != other[name] for name in one)


def write_macro(folder, score):
    lines = ["arch,test_acc_1,test_acc_2,test_acc_3,mean_acc,params,flops"]
    for arch in product("012", repeat=8):
        lines.append(f"{''.join(arch)},{','.join(str(score(arch, run)) for run in range(3))},0,0,0")
    (folder / "nas_bench_macro_cifar10.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 1))


# The tables and the protocol


def test_macro_puts_each_run_where_its_digits_say(lookup, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNAS_DATA", str(tmp_path))
    write_macro(tmp_path, lambda arch, run: int("".join(arch), 3) + run / 10)
    table = lookup.READERS["macro"]()
    choices = {d.name: digit for d, digit in zip(table.decisions, "00000012", strict=True)}
    assert {table.score(choices, 1, trial) for trial in range(50)} == {5.0, 5.1, 5.2}
    assert table.regret(choices) == pytest.approx(3**8 - 1 - 5)


def test_fcnet_is_read_by_its_columns_and_turned_so_that_more_is_better(lookup, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNAS_DATA", str(tmp_path))
    sizes = (2, 2, 4, 3, 3, 6, 2, 6, 6)
    index = np.stack(np.unravel_index(np.arange(62208), sizes), 1).astype(np.uint8)[::-1]
    loss = np.ones((62208, 4), np.float32)
    loss[(index == [1, 0, 3, 2, 0, 4, 1, 0, 5]).all(axis=1)] = 0.25
    costs = {"model_size": np.arange(62208), "train_time": np.arange(62208) / 2}
    np.savez(tmp_path / "hpolib_fcnet_protein_structure.npz", config_index=index, val_loss=loss, **costs)
    table = lookup.READERS["fcnet_protein"]()
    best = dict(activation_fn_1="tanh", activation_fn_2="relu", batch_size=64, dropout_1=0.6, dropout_2=0.0, init_lr=0.05)
    best |= dict(lr_schedule="const", n_units_1=16, n_units_2=512)
    assert table.score(best, 3, 4) == -0.25
    row = int((loss[:, 0] == 0.25).argmax())
    assert table.cost(best) == (row, row / 2)
    assert table.regret(best) == 0
    assert table.regret({**best, "n_units_2": 256}) == 0.75
    assert {d.name for d in table.decisions if not d.ordered} == {"activation_fn_1", "activation_fn_2", "lr_schedule"}


def test_missing_table_is_named_with_what_to_do(lookup, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNAS_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"hpolib_fcnet_slice_localization\.npz is missing: set KERASNAS_DATA"):
        lookup.READERS["fcnet_slice"]()


def test_a_trial_draws_each_run_alike_often_and_the_same_for_whatever_is_tried(lookup):
    scores = np.arange(4.0) + 10 * np.arange(2.0)[:, None]
    table = lookup.Table("t", "u", digits(1, 2), scores)
    drawn = [(table.score({"d0": "0"}, 7, trial), table.score({"d0": "1"}, 7, trial)) for trial in range(2000)]
    assert all(other == one + 10 for one, other in drawn)
    # A false alarm once in a million seeds; the seed is fixed.
    assert stats.chisquare([*Counter(one for one, _ in drawn).values()]).pvalue > 1e-6


def test_the_luckiest_of_the_best_in_closed_form(bench, lookup):
    # Of the best two, 6 (5 or 7) and 5 (2 or 8): the second wins when it draws its 8, in half of the draws.
    table = lookup.Table("t", "u", digits(1, 3), np.array([[5.0, 7.0], [2.0, 8.0], [0.0, 1.0]]))
    assert bench.luckiest(table, count=2, draws=20000) == pytest.approx(0.5, abs=0.02)
    assert bench.luckiest(table, count=1) == 0


def test_incumbent_is_chosen_by_its_noisy_score_and_judged_by_its_mean(bench, lookup):
    # Whatever run is drawn, "1" scores above "0", and "2" below "1"; the means order them otherwise.
    scores = np.array([[5.0, 5.0], [6.0, 6.0], [5.5, 5.5], [9.0, 9.0]])
    noisy = scores + np.array([[0, 0], [0, 0], [0, 0], [0, -8.0]])
    table = lookup.Table("t", "u", digits(1, 4), noisy)
    done = bench.run(scripted({"d0": "0"}, {"d0": "2"}, {"d0": "1"}, {"d0": "2"}), table, 0, 6)
    assert done.regrets == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]  # the last two: the search had ended
    lucky = next(seed for seed in range(99) if table.score({"d0": "3"}, seed, 1) == 9)
    assert bench.run(scripted({"d0": "1"}, {"d0": "3"}), table, lucky, 2).regrets == [0.0, 1.0]


# The searches


def test_every_strategy_of_the_package_competes(contenders):
    assert contenders.CONTENDERS["kerasnas.RandomSearch"].is_ours
    assert contenders.CONTENDERS["kerasnas.Reinforce"].is_ours
    assert "kerasnas.Strategy" not in contenders.CONTENDERS


def test_results_of_ours_belong_to_every_source_below_strategies(contenders):
    import kerasnas.strategies

    folder = Path(kerasnas.strategies.__file__).parent
    assert set(contenders._SOURCES) == set(folder.rglob("*.py"))


def test_a_strategy_repeats_nothing_and_ends_when_all_is_tried(contenders):
    search = contenders.strategy_search(RandomSearch, digits(2, 3), 5)
    proposed = feed(search, lambda _: 0.0, 9)
    assert len({tuple(choices.items()) for choices in proposed}) == 9
    with pytest.raises(StopIteration):
        search.send(0.0)


def test_regularized_evolution_mutates_one_decision_of_a_living_member(contenders):
    decisions = digits(20)
    proposed = feed(contenders.regularized_evolution(decisions, 3), lambda choices: Counter(choices.values())["0"], 300)
    parents = []
    for trial in range(30, 300):
        ages = [age for age in range(1, 31) if differences(proposed[trial], proposed[trial - age]) == 1]
        assert ages  # two unrelated configurations of 20 digits do not differ in one by chance
        parents.append(min(ages))
    assert max(parents) > 15  # not only the youngest have children
    assert Counter(proposed[-1].values())["0"] > 10  # 20 / 6 at the start


def test_regularized_evolution_lets_the_best_die_of_age(contenders):
    proposed = feed(contenders.regularized_evolution(digits(20), 0), lambda _: 0.0, 1)
    search = contenders.regularized_evolution(digits(20), 0)
    proposed = feed(search, lambda choices: float(choices == proposed[0]), 200)
    children = [trial for trial in range(30, 200) if differences(proposed[trial], proposed[0]) == 1]
    # It is the oldest of the first population, so it can have a child only before the next trial takes its place.
    assert all(trial == 30 for trial in children)


def test_regularized_evolution_takes_the_best_of_its_sample(contenders):
    # The youngest of the first population is the only good one: it lives for 30 trials and is in a sample of ten with
    # probability 1 - (29/30)^10 = .288 each time. Over 40 seeds: 1200 trials, of which 345 +- 16 are its children.
    children = 0
    for seed in range(40):
        best = feed(contenders.regularized_evolution(digits(20), seed), lambda _: 0.0, 30)[-1]
        proposed = feed(
            contenders.regularized_evolution(digits(20), seed), lambda choices, best=best: float(choices == best), 60
        )
        children += sum(differences(choices, best) == 1 for choices in proposed[30:])
    assert 345 - 5 * 16 < children < 345 + 5 * 16


def test_local_search_climbs_to_the_top_of_a_single_hill_and_begins_again(contenders):
    decisions = digits(5, 4)
    weights = {d.name: 4.0**-i for i, d in enumerate(decisions)}
    score = lambda choices: sum(weights[name] * int(value) for name, value in choices.items())  # noqa: E731
    proposed = feed(contenders.local_search(decisions, 1), score, 120)
    assert len({tuple(choices.values()) for choices in proposed}) == 120
    best = max(range(10), key=lambda trial: score(proposed[trial]))
    for trial in range(10, 120):
        assert differences(proposed[trial], proposed[best]) == 1
        if score(proposed[trial]) > score(proposed[best]):
            best = trial
        if score(proposed[best]) == score(dict.fromkeys(weights, "3")):
            break
    top = best
    assert top < 119
    # The neighbours of the top are tried, then ten configurations are drawn: they are not all its neighbours.
    left = next(trial for trial in range(top + 1, 120) if differences(proposed[trial], proposed[top]) > 1)
    assert left - top <= 5 * 3 + 1


def test_local_search_ends_when_all_is_tried(contenders):
    search = contenders.local_search(digits(2, 3), 0)
    assert len({tuple(choices.values()) for choices in feed(search, lambda _: 0.0, 9)}) == 9
    with pytest.raises(StopIteration):
        search.send(0.0)


@pytest.mark.parametrize("oracle", ["RandomSearchOracle", "BayesianOptimizationOracle"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_kerastuner_proposes_the_same_without_its_files(contenders, oracle, tmp_path):
    import keras_tuner as kt

    sizes = (1, 2, 4, 8, 16, 32)
    decisions = (Discrete(name="kind", values=("a", "b")), Discrete(name="size", values=sizes, ordered=True))
    score = lambda choices: choices["size"] + (choices["kind"] == "b") / 2  # noqa: E731
    proposed = feed(contenders.keras_tuner_search(oracle, decisions, 10), score, 8)  # six are random, two of the model

    space = kt.HyperParameters()
    space.Choice("kind", ["a", "b"])
    space.Choice("size", list(sizes))
    saving = getattr(kt.oracles, oracle)(objective=kt.Objective("score", "max"), max_trials=9, hyperparameters=space, seed=11)
    saving._set_project_dir(tmp_path, "p")
    saving.verbose = 0
    for choices in proposed:
        trial = saving.create_trial("t")
        assert trial.hyperparameters.values == choices
        saving.update_trial(trial.trial_id, {"score": score(choices)})
        trial.status = "COMPLETED"
        saving.end_trial(trial)


def test_optuna_finds_the_top_of_a_hill_with_ordered_and_unordered_decisions(contenders):
    pytest.importorskip("optuna")
    decisions = (Discrete(name="kind", values=("a", "b")), Discrete(name="size", values=(1, 2, 4, 8, 16, 32), ordered=True))
    score = lambda choices: -abs(math.log2(choices["size"]) - 3) - (choices["kind"] == "a")  # noqa: E731
    proposed = feed(contenders.optuna_search("TPESampler", decisions, 0), score, 60)
    # Random draws would hit one of twelve 2.5 times in the last 30; more than 8 has probability 0.0003.
    assert sum(score(choices) == 0 for choices in proposed[30:]) > 8


# The statistics and the command


def test_interval_is_students(bench):
    assert bench.interval(np.array([1.0, 3.0])) == pytest.approx(12.706, abs=1e-3)  # t = 12.706, standard error 1
    assert math.isnan(bench.interval(np.array([1.0])))


def test_ties(bench):
    rng = np.random.default_rng(0)
    best, same, worse = rng.normal(1, 0.1, 50), rng.normal(1, 0.1, 30), rng.normal(2, 0.1, 50)
    assert bench.tied_with_best([worse, best, same]) == [False, True, True]
    # One diverged run in fifty: Welch's test sees nothing, the ranks do.
    tail = np.append(worse[:49], 1e6)
    assert stats.ttest_ind(tail, best, equal_var=False).pvalue > 0.05
    assert bench.tied_with_best([tail, best]) == [False, True]
    # Nothing can be said of a single value, nor of no value.
    assert bench.tied_with_best([best, np.array([3.0]), np.empty(0)]) == [True, True, False]
    assert bench.tied_with_best([np.zeros(5), np.ones(5)]) == [True, False]


def test_the_command_resumes_where_it_stopped(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERASNAS_DATA", str(tmp_path))
    write_macro(tmp_path, lambda arch, run: sum(map(int, arch)) + run / 10)
    results = tmp_path / "results"
    arguments = ["--tables", "macro", "--methods", "published.LocalSearch", "kerasnas.RandomSearch", "--jobs", "1"]
    arguments += ["--results", str(results), "--trials", "30", "--seeds"]
    bench.main([*arguments, "2"])
    printed = capsys.readouterr().out
    assert "published.LocalSearch" in printed
    assert "@25" in printed
    assert "@50" not in printed
    files = sorted(results.glob("macro/*/*.json"))
    assert [path.name for path in files] == ["0.json", "1.json"] * 2
    before = {path: (path.stat().st_mtime_ns, json.loads(path.read_text())["regrets"]) for path in files}
    assert all(len(regrets) == 30 for _, regrets in before.values())
    files[0].unlink()
    bench.main([*arguments, "2"])
    after = {path: (path.stat().st_mtime_ns, json.loads(path.read_text())["regrets"]) for path in files}
    assert [path for path in files if before[path][0] != after[path][0]] == files[:1]
    assert all(before[path][1] == after[path][1] for path in files)
    assert (results / "regret.png").stat().st_size > 10_000
    # The runs of other sources are not those of these.
    assert {path.parent.name for path in files} == {
        f"kerasnas.RandomSearch-{bench.CONTENDERS['kerasnas.RandomSearch'].version}-p1",
        "published.LocalSearch-p1",
    }

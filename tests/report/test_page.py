"""The page: it opens offline, says what the files say, and is no way in for what they hold."""

import json
import re
from xml.etree import ElementTree

import pytest
from scipy.stats import binomtest

from kerasnas.errors import InvalidArgument
from kerasnas.record import SearchRecord
from kerasnas.report import write_report
from kerasnas.report.page import _interval
from kerasnas.report.quantities import number

ATTACK = "<script>alert(1)</script>"
HANDLER = "<img src=x onerror=alert(2)>"

SEARCHES = {
    "one trial": {"scores": [0.5]},
    "several": {"scores": [0.5, 0.7, 0.6, 0.9, 0.1, 0.88]},
    "failed": {"scores": [0.5, None, 0.7, None], "message": "Traceback\nValueError: too large"},
    "all failed": {"scores": [None, None], "message": "ValueError: too large"},
    "running": {"scores": [0.5, 0.7, None], "statuses": ["COMPLETED", "COMPLETED", "RUNNING"]},
    "only begun": {"scores": [None], "statuses": ["RUNNING"]},
    "to be minimised": {"scores": [0.5, 0.3, 12.0, 0.4], "direction": "min"},
    "equal": {"scores": [0.5, 0.5, 0.5, 0.5]},
    "no policy": {"scores": [0.5, 0.7], "policy": False},
    "plain KerasTuner": {"scores": [0.5, 0.7, None], "plain": True},
    "no limit": {"scores": [0.5, 0.7], "max_trials": None},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_page_of_any_search_opens_offline(page_of, name, project, tmp_path):
    settings = dict(SEARCHES[name])
    page = page_of(project(tmp_path / "search", **settings))
    assert f"proposed {len(settings['scores'])} networks" in page.words
    running = "running" in name or "begun" in name
    assert ("Search running: 1 trial under way." in page.words) == running
    short = settings.get("max_trials", 12) is not None and "plain" not in settings and not running
    assert (f"Search not running: {len(settings['scores'])} of 12 trials done." in page.words) == short
    assert ("Search finished." in page.words) == (not running and not short)
    scored = any(score is not None for score in settings["scores"])
    assert ("the network that won" in page.words) == (scored and not running)
    assert ("no network yet" in page.words) == (not scored)
    for score in settings["scores"]:
        if score is not None:
            assert number(score) in page.words
    failed = 0 if running else settings["scores"].count(None)
    assert (f"{failed} failed." in page.words) == (failed > 0)
    assert ("keeps no policy" in page.words) == (name in ("no policy", "plain KerasTuner"))
    if "message" in settings:
        assert "ValueError: too large" in page.words
        assert "Traceback" not in page.words


@pytest.mark.parametrize(("direction", "winner"), [("max", 4), ("min", 5)])
def test_the_winner_and_the_order(page_of, direction, winner, project, tmp_path):
    page = page_of(project(tmp_path, scores=[0.5, 0.7, 0.6, 0.9, 0.1], direction=direction))
    assert f"The winner: trial {winner}" in page.words
    assert f"({'higher' if direction == 'max' else 'lower'} is better)" in page.words
    rows = re.findall(r"(\d) completed (0\.\d+)", page.words)
    order = [4, 2, 3, 1, 5]
    assert [int(number) for number, _ in rows] == (order if direction == "max" else order[::-1])


def test_what_the_files_hold_is_text_only(page_of, project, evaluation, tmp_path):
    project(tmp_path / "search", scores=[0.5, None, 0.7], values={ATTACK: HANDLER, "kind": ATTACK}, message=HANDLER)
    evaluation(tmp_path, [ATTACK, HANDLER, "$x_1$ & $\\foo$", "鳥"])
    content = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(content | {"name": ATTACK}))
    page = page_of(tmp_path)
    # As text: in the title, the heading and the data line, in the table of classes and on both axes of the chart, ...
    assert page.words.count(ATTACK) > 8
    assert page.words.count(HANDLER) > 5
    assert page.words.count("$x_1$ & $\\foo$") == 3
    assert page.words.count("鳥") == 3
    assert not [attributes for tag, attributes in page.tags if tag == "img"]


def test_a_long_name_is_cut_in_the_charts_only(page_of, project, evaluation, tmp_path):
    name = "a rather long name of a class, as folders sometimes have"
    project(tmp_path / "search", scores=[0.5], values={name: "relu"})
    evaluation(tmp_path, [name, "other"])
    words = page_of(tmp_path).words
    assert words.count(name) == 5  # the winner, the table of classes, the trial, and where the pointer is on its two values
    assert words.count(name[:27] + "…") == 3  # beliefs, and both axes of the confusion matrix


def test_numbers_are_those_of_the_files(page_of, project, evaluation, tmp_path):
    project(tmp_path / "search", scores=[0.51234, 0.73456])
    evaluation(tmp_path, ["left", "right"])
    page = page_of(tmp_path)
    for text in (
        "90.00 % of 20 pictures are right",
        "commonest class would give 50.0 %",
        "Cross-entropy 0.3217",
        "; 4,321 for the search and the final training, 20 held out",
        "0.7346 best val_accuracy",
        "2 / 12 trials in 0.2 min",
        "left 0.900 0.900 0.900 10",
        "2 completed 0.7346 2 1,235 6",
    ):
        assert text in page.words


DECISIONS = [
    {"phase": "initial point", "advantage": None},
    {
        "phase": "policy", "predicted": {"mean": 0.5, "std": 0.05}, "unit": "score", "entropy": 1.25, "advantage": 0.125,
        "probabilities": {"units": 0.75, "learning_rate": 0.03}, "runner_up": {"units": 16, "learning_rate": 0.00123},
    },
    {"phase": "crossover", "parents": [{"units": 8, "learning_rate": 0.5}, {"units": 16, "learning_rate": 0.00123}]},
    {"phase": "novelty", "parent": {"units": 16, "learning_rate": 0.00123, "a": 1, "b": 2, "c": 3}, "mutation": {}},
    {"phase": "policy", "predicted": {"mean": 1.5, "std": 0.25, "unit": "normal score"}},
]  # fmt: skip


def test_how_each_trial_was_proposed(page_of, project, tmp_path):
    words = page_of(project(tmp_path, scores=[0.5, 0.7, 0.6, None, 0.4], decisions=DECISIONS)).words
    for row in (
        "1 initial point 0.5 ",
        "2 policy 0.5 ± 0.05 0.7 +0.12 1.25 runner-up: units 16, here 8 least likely: learning_rate 3 %, units 75 %",
        "3 crossover 0.6 parent: units 8, here 16; learning_rate 0.5, here 0.00123 parent: the same",
        "4 novelty failed wanted: units 16, here 8; a 1, here none; b 2, here none; and 1 more",
        "5 policy 1.5 ± 0.25 normal score 0.4",
    ):
        assert row in words
    # Trial 2 came four deviations off; trial 5 was predicted in another unit and is not counted.
    assert "0 of 1 scores came within two standard deviations" in words


@pytest.mark.parametrize(("count", "told", "drawn"), [(1, True, False), (3, True, True), (3, False, True)])
def test_entropy_is_explained_where_it_is_told_and_its_chart_where_there_is_one(page_of, project, tmp_path, count, told, drawn):
    decisions = [{"entropy": 1.25} if told else {} for _ in range(count)]
    words = page_of(project(tmp_path, scores=[0.5, 0.7, 0.6][:count], decisions=decisions)).words
    assert ("How undecided the policy was when it proposed" in words) == drawn
    assert ("Entropy, in nats" in words) == told
    assert ("the chart above shows the mean over all decisions" in words) == (told and drawn)
    assert "Advantage: what the strategy made of the score" in words


def test_a_policy_that_has_learned_nothing_is_not_drawn(page_of, project, tmp_path):
    project(tmp_path, scores=[0.5, 0.7, 0.6])
    words = page_of(tmp_path).words
    assert "What the policy learned" in words
    assert "<title>units 8: 63 %</title>" in page_of(tmp_path).source
    for file in tmp_path.glob("trial_*/decision.json"):
        blind = {"units": {"8": 0.5, "16": 0.5}, "other": {"1": 0.99, "2": 0.01}}  # the winner has no other
        file.write_text(json.dumps(json.loads(file.read_text()) | {"beliefs": blind}))
    words = page_of(tmp_path).words
    assert "What the policy learned" not in words
    assert "the policy had learned nothing yet" in words


def test_a_trial_that_was_stopped_has_one_value_and_what_it_had_beside_it(page_of, project, tmp_path):
    stopped = {"stopped": {"rule": "asha", "reason": "last", "details": {}, "expected": 0.55}}
    words = page_of(project(tmp_path, scores=[0.5, 0.9], history={0: stopped}, decisions=DECISIONS[:2])).words
    assert "1 initial point 0.55 0.5 when stopped" in words
    assert "what a trial that was stopped early was expected to come to" in words
    assert "Bold: more than two standard deviations from what was predicted." in words


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_prediction_is_shown_in_the_direction_of_the_objective(page_of, direction, project, tmp_path):
    sign = 1 if direction == "max" else -1  # strategies are told that higher is better
    decisions = [{"predicted": {"mean": sign * 0.5, "std": 0.1}}, {"predicted": {"mean": sign * 0.5, "std": 0.0}}]
    words = page_of(project(tmp_path, scores=[0.6, 0.7], direction=direction, decisions=decisions)).words
    assert "1 Reinforce 0.5 ± 0.1 0.6" in words
    assert "1 of 1 scores came within" in words  # without a deviation nothing is said of the second


@pytest.mark.parametrize(
    "odd",
    [
        {"predicted": 3}, {"predicted": {"mean": None, "std": 1.0}}, {"predicted": {"mean": 0.5, "std": None}},
        {"probabilities": [0.5]}, {"probabilities": {"a": "high"}}, {"parents": "abc"}, {"parent": 3}, {"runner_up": [1]},
        {"phase": ATTACK, "runner_up": {ATTACK: HANDLER}}, {"advantage": 1e300, "entropy": -1e-300},
        {"advantage": "much", "entropy": [1], "predicted": {"mean": 0.5, "std": "wide", "unit": 3}},
    ],
)  # fmt: skip
def test_a_strategy_of_ones_own_may_say_odd_things(page_of, odd, project, tmp_path):
    assert "How each trial was proposed" in page_of(project(tmp_path, scores=[0.5, 0.6], decisions=[odd, {}])).words


def test_an_older_folder_tells_of_no_proposals(page_of, project, tmp_path):
    project(tmp_path, scores=[0.5, 0.6])
    for file in tmp_path.glob("trial_*/decision.json"):
        file.rename(file.with_name("policy.json"))
    for file in tmp_path.glob("trial_*/policy.json"):
        file.write_text(json.dumps({"probabilities": json.loads(file.read_text())["beliefs"]}))
    words = page_of(tmp_path).words
    assert "What the policy learned" in words
    assert "How each trial was proposed" not in words


def test_the_network_that_was_shipped_is_named_where_it_is_not_that_of_the_best_trial(page_of, project, tmp_path):
    project(tmp_path / "search", scores=[0.5, 0.9, 0.8])
    members = {trial: 0.25 * (1 + i) for i, trial in enumerate(SearchRecord.load(tmp_path / "search").to_dataframe().trial_id)}
    values = [dict(trial.values) for trial in SearchRecord.load(tmp_path / "search").trials]

    def write(members, hyperparameters):
        known = {"members": members, "best_hyperparameters": hyperparameters}
        (tmp_path / "classifier.json").write_text(json.dumps(known))

    write(dict(list(members.items())[:2]), values[1])
    assert "exported network" not in page_of(tmp_path).words
    write(members, values[2])
    words = page_of(tmp_path).words
    assert "The exported network is that of trial 3" in words
    assert "earlier search" not in words
    write(members, values[2] | {"units": 99})
    words = page_of(tmp_path).words
    assert "exported network" not in words
    assert "The network in this folder, and what was made of it, come from an earlier search than this one." in words


def test_a_network_that_was_made_before_the_search_went_on_is_told_as_such(page_of, project, evaluation, tmp_path):
    project(tmp_path / "search", scores=[0.5, 0.8, 0.9])
    evaluation(tmp_path, ["a", "b"])
    trial = SearchRecord.load(tmp_path / "search").trials[1]
    known = {"members": {trial.trial_id: 1.0}, "best_hyperparameters": dict(trial.values)}
    for ended, said in ((2, "is that of trial 2, made before the search went on."), (3, "is that of trial 2: it was better")):
        (tmp_path / "classifier.json").write_text(json.dumps(known | {"trials_ended": ended}))
        words = page_of(tmp_path).words
        assert f"The exported network {said}" in words
        assert "Accuracy on held-out pictures, trial 2" in words
        assert "test accuracy, 20 pictures, trial 2" in words


def test_what_a_compression_search_found(page_of, project, tmp_path):
    project(tmp_path / "search", scores=[0.5])
    row = {
        "trial": 0, "format": "float32", "size_bytes": 970_500, "gzip_bytes": 896_900, "latency_ms": 0.125,
        "original_ms": 0.125, "accuracy": 0.8996, "loss": 0.0, "loss_error": 0.0, "parameters": 242_602, "macs": 14_680_000,
    }  # fmt: skip
    small = row | {"trial": 4, "format": "U8S8", "size_bytes": 65_900, "latency_ms": 0.05, "accuracy": 0.892, "loss": 0.0076}
    small |= {"loss_error": 0.0041, "gzip_bytes": 48_400, "parameters": 47_176, "macs": 2_870_000}
    beaten = small | {"size_bytes": 70_000, "trial": 5}
    told = {
        "goal": {"best": "smallest", "max_loss": 0.01, "max_bytes": 90_000, "max_latency_ms": None},
        "rows": [row, beaten, small], "original": 0, "chosen": 2, "pareto": [2, 0], "n_held_out": 2500,
        "reason": "It is <the> smallest.", "settings": {},
        "control": {"accuracy": 0.9, "pruned_accuracy": 0.88, "scratch_wins": True},
        "test": {"n": 10000, "original": 0.8972, "chosen": 0.8894, "loss": 0.0078, "loss_error": 0.002},
    }  # fmt: skip
    (tmp_path / "compression.json").write_text(json.dumps(told))
    page = page_of(tmp_path)
    assert "network 4, U8S8 0.8920 0.76 ± 0.80 65.9 48.4 0.05 2.5x faster 47,176 2.87M" in page.words
    assert "original, float32 0.8996 0.00 ± 0.00 970.5 896.9 0.125 the same" in page.words
    told["rows"][2]["latency_ms"] = 0.2
    (tmp_path / "compression.json").write_text(json.dumps(told))
    assert "48.4 0.2 1.6x slower 47,176" in page_of(tmp_path).words
    assert "network 5, U8S8 0.8920" not in page.words  # but in the chart
    assert "It is <the> smallest. On 10,000 test pictures" in page.words
    assert "from scratch is better" in page.words
    assert "<title>network 4, U8S8: 65.9 kB, 0.050 ms, accuracy 0.8920</title>" in page.source
    told["control"] |= {"n_held_out": 10000, "samples": "test samples, which chose nothing"}
    (tmp_path / "compression.json").write_text(json.dumps(told))
    assert "reached 0.8800 on 10,000 test samples, which chose nothing: from scratch is better" in page_of(tmp_path).words
    told["control"]["is_told"] = False
    told["test"]["loss"] = -0.0078
    (tmp_path / "compression.json").write_text(json.dumps(told))
    words = page_of(tmp_path).words
    assert "(a gain of 0.78 ± 0.39 points)" in words
    assert "which chose nothing: within what luck can do, neither is shown to be better." in words
    told |= {"goal": None, "control": None, "test": None}
    (tmp_path / "compression.json").write_text(json.dumps(told))
    assert "from scratch" not in page_of(tmp_path).words


def test_files_and_pruning(page_of, project, tmp_path):
    project(tmp_path / "search", scores=[0.5])
    row = {
        "name": "model", "file": "model.onnx", "parameters": 5350, "sparsity": 0.25, "accuracy": None, "keras_accuracy": None,
        "verification": {
            "passed": True, "max_abs_difference": {"probabilities": 2.5e-7}, "atol": 1e-4,
            "batch_sizes": [1, 7], "n_samples": 64,
        },
        "latency": {
            "median_ms": 0.0354, "size_bytes": 30000, "gzip_bytes": 20000, "repeats": 200, "batch_size": 1, "threads": 1,
            "runtime": "onnxruntime 1.2.3", "machine": "abacus",
        },
    }  # fmt: skip
    worse = row | {"file": "other.onnx", "verification": row["verification"] | {"passed": False}}
    row["drift"] = {"rank_correlation": 0.876, "overlap": 0.75, "pointing_change": 0.0312, "same_class": 0.9}
    quantized = row | {
        "file": "small.onnx", "samples": 5000, "certificate": "small.json", "format": "U8U8",
        "reason": "U8U8 is <the> smallest.", "accuracy": 0.91,
        "verification": row["verification"] | {"top1_agreement": {"probabilities": 0.984}},
    }  # fmt: skip
    quantized.pop("drift")
    nothing = {"rank_correlation": None, "overlap": None, "pointing_change": None, "same_class": 1.0, "blank": 1.0}
    sure = row | {"file": "sure.onnx", "drift": nothing}
    (tmp_path / "verification.json").write_text(json.dumps({"files": [row, worse, quantized, sure]}))
    pruning = {
        "sparsity": 0.5,
        "epochs": 6,
        "gzip_bytes_before": 20000,
        "gzip_bytes": 10000,
        "accuracy_before": 0.97,
        "accuracy": 0.96,
    }
    (tmp_path / "pruning.json").write_text(json.dumps(pruning))
    words = page_of(tmp_path).words
    assert "model.onnx - 5,350 25 % 30 20 0.0354 2.5e-07 0.88 yes" in words
    assert "other.onnx - 5,350 25 % 30 20 0.0354 2.5e-07 - no" in words
    assert "small.onnx 0.9100 5,350 25 % 30 20 0.0354 2.5e-07 - same class for 98.4 % of 64 test pictures" in words
    assert "raw pixels, small.onnx on the 5,000 of them that chose nothing" in words
    assert "small.onnx : U8U8 is <the> smallest." in words
    assert "batch sizes 1 and 7, at most 0.0001 allowed" in words  # a run folder of before there were bounds by output
    assert "its certificate ( small.json ): hashes" in words
    assert "kerasnas verify small.onnx checks" in words
    assert "onnxruntime 1.2.3, abacus" in words
    drifts = words[words.index("Do the files look at the same?") :]
    assert "model.onnx - 20 0.88 75 % 3.1 % 0 %" in drifts
    assert "sure.onnx - 20 - - - 100 %" in drifts
    assert "where all are blank there is nothing to compare" in drifts
    assert "other.onnx" not in drifts[: drifts.index("Pruning made")]
    assert "50 % of the prunable kernel weights exactly zero and fine-tuned for 6 epochs" in words
    assert "20 kB gzipped became 10 kB; test accuracy 0.9700 became 0.9600" in words
    row["verification"]["bounds"] = {"price": 0.76, "kind": 1e-4, "kind_2": 1e-4}
    (tmp_path / "verification.json").write_text(json.dumps({"files": [row]}))
    assert "at most 0.76 and 0.0001 allowed" in page_of(tmp_path).words


def test_each_chart_of_the_page_is_also_a_file(project, evaluation, tmp_path):
    project(tmp_path / "search", scores=[0.5, 0.7, 0.6])
    evaluation(tmp_path, ["cat", "dog"])
    page = write_report(tmp_path, charts=tmp_path / "charts").read_text()
    files = {path.stem: path.read_text() for path in (tmp_path / "charts").iterdir()}
    assert {"trials", "curves", "belief", "entropy", "confusion"} == set(files)
    assert len(re.findall("<svg", page)) == len(files)
    for text in files.values():
        assert text in page
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


def test_measures_of_the_model_are_a_table(page_of, project, tmp_path):
    project(tmp_path / "search", scores=[0.5])
    (tmp_path / "explanations").mkdir()
    measures = {"depth_layers": 4.0, "kernel_norm": 2.345, "kernel_zeros_share": None}
    (tmp_path / "explanations" / "measures.json").write_text(json.dumps(measures))
    words = page_of(tmp_path).words
    assert "depth layers 4 kernel norm 2.345 kernel zeros share n/a" in words


def test_a_page_elsewhere_and_twice_the_same_charts(project, tmp_path):
    project(tmp_path / "search", scores=[0.5, 0.7, 0.6])
    path = write_report(tmp_path, tmp_path / "deep" / "page.html")
    assert path == tmp_path / "deep" / "page.html"
    charts = [re.findall(r"<svg.*?</svg>", write_report(tmp_path).read_text(), re.DOTALL) for _ in (1, 2)]
    assert charts[0] == charts[1]
    assert len(charts[0]) == 4


def test_no_search(tmp_path):
    with pytest.raises(InvalidArgument, match="Expected a run folder"):
        write_report(tmp_path)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (357, 360), (1, 3), (9123, 10000)])
def test_wilson_interval(right, n):
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    interval = _interval({"samples": n, "accuracy": right / n})
    assert interval == pytest.approx((expected.low, expected.high), abs=2e-5)  # z is 1.96 here, 1.95996 there

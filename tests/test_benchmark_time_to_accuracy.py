"""The benchmark of accuracy against time: what it makes of the results that it keeps."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("time_to_accuracy")


def result(*points):
    return {
        "points": [{"seconds": seconds, "test": test} for seconds, test in points],
        "seconds": 90.0,
        "fit_seconds": 81.0,
        "machine": {"cpu": "abacus", "int8": "none", "cores": 1},
    }


@pytest.fixture
def kept(bench, tmp_path):
    planted = {
        "kerasnas-0": result((10, 0.5), (20, 0.9)),
        "kerasnas-1": result((30, 0.8)),
        "kerasnas_without_the_model-0": result((50, None), (60, 0.4)),
        "kt.Hyperband-0": result((40, 0.6), (80, 0.7)),
        "kt.RandomSearch-0": result(),  # nothing was ready in time
    }
    for name, content in planted.items():
        (tmp_path / f"fashion-all-90-{name}.json").write_text(json.dumps(content), "utf-8")
    return bench.kept(tmp_path)


def test_results_are_sorted_by_task_and_method(kept):
    (task,) = kept
    assert task == "Fashion-MNIST, all pictures, 90 s"
    assert {method: len(runs) for method, runs in kept[task].items()} == {
        "kerasnas": 2,
        "kerasnas without the model": 1,
        "kt.Hyperband": 1,
        "kt.RandomSearch": 1,
    }


def test_the_goal_is_the_best_peers_accuracy_at_the_end(bench, kept, capsys):
    for task, results in kept.items():
        bench.report(task, results)
    told = capsys.readouterr().out
    assert "seconds to 0.7000" in told
    assert "| kerasnas | 2 | 2, 1 | 0.8500 ± 0.0707 | 20, 30 | 10.0% |" in told
    assert "| kerasnas without the model | 1 | 2 | 0.4000 | never | 10.0% |" in told
    assert "| kt.RandomSearch | 1 | 0 | 0.0000 | never | 10.0% |" in told
    assert "1 core(s) of an abacus, none" in told


def test_the_curves_are_drawn(bench, kept, tmp_path):
    bench.plot(kept, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_results_of_the_readme_can_be_read(bench):
    tasks = bench.kept(BENCHMARKS / "measured" / "time_to_accuracy")
    assert tasks
    assert all(0 < final <= 1 for results in tasks.values() for runs in results.values() for final in bench.final(runs))


def test_the_tables_of_the_readme_are_those_of_the_results(bench):
    tasks = bench.kept(BENCHMARKS / "measured" / "time_to_accuracy")
    told = {}
    for block in (BENCHMARKS.parent / "README.md").read_text("utf-8").split("\n\n"):
        (title, *_), *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines())
        if title.endswith(", three runs each"):
            task = title.removesuffix(", three runs each").replace("10,000", "10000") + ", 900 s"
            told |= {(task, row[0].replace("KerasTuner ", "kt.").partition(" (")[0]): row[1:3] for row in rows[1:]}
    assert {task for task, _ in told} == set(tasks)
    for (task, method), (accuracy, when) in told.items():
        runs = tasks[task][method]
        ends = bench.final(runs)
        assert len(runs) == 3
        assert accuracy == f"{np.mean(ends):.3f} ± {np.std(ends, ddof=1):.3f}"
        goal = max(np.mean(bench.final(r)) for m, r in tasks[task].items() if not m.startswith("kerasnas"))
        times = sorted(t for t in (bench.reached(r["points"], goal) for r in runs) if t is not None)
        assert sorted(map(int, re.findall(r"\d+", when))) == [round(t) for t in times]

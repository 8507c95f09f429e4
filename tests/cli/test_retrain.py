"""`kerasnas retrain`."""

import html
import json
import re
from pathlib import Path

import pytest

from kerasnas.cli import main
from kerasnas.explain.search import ablation_path, measured_path
from kerasnas.record import SearchRecord


def _read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_retrain_trains_the_path_once_and_the_page_shows_it(squares, tmp_path, capsys):
    run = tmp_path / "run"
    search = ["search", str(squares), "--out", str(run), "--max-trials", "4", "--epochs", "1", "--space", "tiny", "--quiet"]
    assert main([*search, "--oracle", "random"]) == 0
    files = sorted((run / "search").glob("trial_*/trial.json"))
    default = _read(files[0])["hyperparameters"]["values"]
    # Which trial wins differs between machines: here one does that is two changes away, and not the one that was shipped.
    shipped = _read(run / "classifier.json")["members"]
    winner = next(file for file in files[:0:-1] if _read(file)["trial_id"] not in shipped)
    for number, file in enumerate(files):
        state = _read(file) | {"score": 1.0 if file == winner else 0.5 + 0.1 * number}
        if file == winner:
            state["hyperparameters"]["values"] = default | {"normalization": "layer", "label_smoothing": 0.1}
        file.write_text(json.dumps(state))
    assert main(["retrain", str(run)]) == 0
    path = ablation_path(SearchRecord.load(run / "search"))
    assert {step.name for step in path.steps} == {"normalization", "label_smoothing"}
    trials = sorted((run / "path").glob("0/trial_*/trial.json"))
    assert len(trials) == len(path.configurations)
    assert capsys.readouterr().out.count("measured") == len(path.steps) + 1
    trained = [_read(file)["hyperparameters"]["values"] for file in trials]
    assert all(any(values.items() <= one.items() for one in trained) for values in path.configurations)
    before = [file.stat().st_mtime_ns for file in trials]
    assert main(["retrain", str(run)]) == 0  # what is trained stays
    assert [file.stat().st_mtime_ns for file in trials] == before
    told = measured_path(SearchRecord.load(run / "search"), run / "path")
    assert main(["report", str(run)]) == 0
    words = " ".join(re.sub("<[^>]+>", " ", html.unescape((run / "report.html").read_text(encoding="utf-8"))).split())
    assert f"{told.measured:+.3g}" in told.finding
    assert told.finding.replace("+-", "±") in words
    other = json.loads((run / "run.json").read_text()) | {"limit": 40}
    (run / "run.json").write_text(json.dumps(other))
    assert main(["retrain", str(run)]) == 2
    assert "Expected the data that" in capsys.readouterr().err


def test_retrain_needs_a_search(tmp_path, capsys):
    assert main(["retrain", str(tmp_path)]) == 2
    assert "classifier.json" in capsys.readouterr().err

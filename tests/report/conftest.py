"""Project and run folders made by hand, small enough to check by eye."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kerasnas.record import SearchRecord
from kerasnas.report import write_report

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def read_page(folder: Path) -> Page:
    """Write the page of a folder and read it; fails on what could load or run anything."""
    text = write_report(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "embed", "base", "form")]
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{name}={value}"
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                # A browser runs no script of an SVG that is an <img>.
                images = ("data:image/png;base64,", *(("data:image/svg+xml;base64,",) if tag == "img" else ()))
                assert value.startswith(("#", *images)), value
            elif not name.startswith("xmlns"):
                assert "://" not in (value or ""), f"{name}={value}"
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    return page


def write_project(
    folder: Path,
    scores: list[float | None],
    *,
    direction: str = "max",
    statuses: list[str] | None = None,
    values: dict | None = None,
    policy: bool = True,
    max_trials: int | None = 12,
    message: str | None = None,
    plain: bool = False,
    decisions: list[dict] | None = None,
    metrics: list[dict] | None = None,
    history: dict[int, dict] | None = None,
    objectives: dict[str, str] | None = None,
    rejected: list[dict] | None = None,
) -> Path:
    """Write a project folder with one trial for each score.

    `plain` leaves out what KerasTuner alone would not write; `decisions` adds to the decision ledger of each trial, `metrics`
    to its metrics and `history`, by the trial's place, to its history.json; `objectives` makes it a search with several.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = "val_accuracy" if direction == "max" else "val_loss"
    for i, score in enumerate(scores):
        status = statuses[i] if statuses else "COMPLETED" if score is not None else "FAILED"
        trial = folder / f"trial_{i:02d}"
        trial.mkdir()
        observed = (
            {name: {"direction": direction, "observations": [{"value": [score], "step": 1}]}} if score is not None else {}
        )
        for other, value in (metrics[i] if metrics else {}).items():
            observed[other] = {"direction": "min", "observations": [{"value": [value], "step": 1}]}
        hyperparameters = {
            "space": [{"class_name": "Choice", "config": {"name": "units", "values": [8, 16], "conditions": []}}],
            "values": {"units": 8 if i % 2 else 16, "learning_rate": 0.00123} | (values or {}),
        }
        state = {
            "trial_id": f"{i:02d}",
            "hyperparameters": hyperparameters,
            "metrics": {"metrics": observed},
            "score": score,
            "best_step": 1,
            "status": status,
            "message": message if status in ("FAILED", "INVALID") else None,
        }
        (trial / "trial.json").write_text(json.dumps(state))
        if plain:
            continue
        curve = [score / 2, score] if score is not None else [0.1, None]
        told = {"seconds": 6.0, "parameters": 1234 + i, "executions": [{name: curve, "loss": [1.0, 0.5]}]}
        (trial / "history.json").write_text(json.dumps(told | (history or {}).get(i, {})))
        if policy:
            share = 0.5 + 0.4 * (1 - math.exp(-i / 5))
            beliefs = {
                "units": {"8": share, "16": 1 - share},
                **{k: {str(v): 0.6, "other": 0.4} for k, v in (values or {}).items()},
            }
            decision = {"strategy": "Reinforce", "number": i} | (decisions[i] if decisions else {}) | {"beliefs": beliefs}
            (trial / "decision.json").write_text(json.dumps(decision))
    if not plain:
        search = {"objective": name, "direction": direction, "max_trials": max_trials, "oracle": "ReinforceOracle"}
        if objectives:
            several = [{"name": one, "direction": direction} for one, direction in objectives.items()]
            search |= {"objective": "multi_objective", "direction": "min", "objectives": several}
        (folder / "search.json").write_text(json.dumps(search))
    if rejected is not None:
        (folder / "oracle.json").write_text(json.dumps({"rejected": rejected}))
    return folder


def write_evaluation(folder: Path, labels: list[str]) -> dict:
    """Write evaluation.json and run.json for these classes: 9 right and 1 wrong of each."""
    n = len(labels)
    confusion = [[9 if i == j else int(j == (i + 1) % n) for j in range(n)] for i in range(n)]
    evaluation = {
        "accuracy": 0.9,
        "loss": 0.3217,
        "samples": 10 * n,
        "majority_accuracy": 1 / n,
        "confusion": confusion,
        "classes": [{"label": label, "precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 10} for label in labels],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    run = {"data": "x", "name": "squares", "limit": None, "image_size": None, "train": 4321, "test": 10 * n, "shape": [8, 8, 1]}
    (folder / "run.json").write_text(json.dumps(run))
    return evaluation


@pytest.fixture(autouse=True)
def _preferred(monkeypatch):
    """The posterior mean has tests of its own; here it prefers the luckiest trial."""
    monkeypatch.setattr(SearchRecord, "preferred", property(lambda record: record.best))


@pytest.fixture
def project():
    return write_project


@pytest.fixture
def evaluation():
    return write_evaluation


@pytest.fixture
def page_of():
    return read_page

"""The HTML page, made from the files of a run folder."""

import json
import math
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from kerasnas.atomic import write_text
from kerasnas.errors import InvalidArgument
from kerasnas.record import SearchRecord
from kerasnas.report.charts import (
    belief_chart,
    confusion_chart,
    curves_chart,
    entropy_chart,
    foresight_chart,
    trials_chart,
)
from kerasnas.report.compression import compression, figures
from kerasnas.report.front_chart import front_chart
from kerasnas.report.pictures import explained_pictures, inner_pictures
from kerasnas.report.proposals import proposals
from kerasnas.report.quantities import COSTS, cost, number
from kerasnas.report.rejections import rejections
from kerasnas.report.trial_rows import cost_columns, economy, objective_text, trial_rows
from kerasnas.report.why import why

__all__ = ["write_report"]


def write_report(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    charts: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write one HTML page that opens offline, from whatever is there of a run.

    Args:
        folder: a run folder of `kerasnas search` (its search is in `search/`), the project folder of any search, running
            or finished, of kerasnas or KerasTuner, or a folder in which `kerasnas explain` or `kerasnas export` has left
            what it made of a .keras file.
        path: file to write; `report.html` in `folder` by default.
        charts: folder that also takes each chart of the page as an SVG file of its own; None for none.
        tell: hears what is worked out next, a few words; many trials take a minute.
    Returns:
        The path of the page.
    Raises:
        InvalidArgument: if `folder` holds none of these.
    """
    folder = Path(folder)
    project = folder / "search" if (folder / "search").is_dir() else folder
    searched = any(project.glob("trial_*/trial.json"))
    path = Path(path) if path is not None else folder / "report.html"
    facts: dict[str, Any] = {
        "now": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "inside": inner_pictures(folder),
        "measures": _measures(folder),
        "explanations": explained_pictures(folder),
        "files": _files(folder),
        "pruning": _json(figures(folder, "pruning")),
        "clustering": _json(figures(folder, "clustering")),
        "compressed": compression(folder),
    }
    if not searched and not any(
        facts[name] for name in ("inside", "explanations", "files", "pruning", "clustering", "compressed")
    ):
        raise InvalidArgument(
            f"Expected a run folder of `kerasnas search`, the project folder of a search, or a folder that `kerasnas explain` "
            f"or `kerasnas export` wrote into, got {str(folder)!r}."
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.globals |= {"cost": cost, "headings": COSTS, "objective": objective_text}
    if not searched:
        write_text(path, environment.get_template("model.html").render(title=folder.resolve().name, **facts))
        return path
    record = SearchRecord.load(project)
    search, told, evaluation = _search(record), why(record, folder / "path", tell), _evaluation(folder)
    page = environment.get_template("page.html").render(
        title=(_json(folder / "run.json") or {}).get("name") or project.resolve().name,
        run=_json(folder / "run.json"),
        record=record,
        search=search,
        why=told,
        evaluation=evaluation,
        structure=_structure(folder),
        **_shipped(folder, record),
        **facts,
    )
    write_text(path, page)
    if charts is not None:
        for name, drawing in _drawings(search, told, evaluation):
            write_text(Path(charts) / f"{name}.svg", drawing)
    return path


def _drawings(
    search: dict[str, Any], told: dict[str, Any] | None, evaluation: dict[str, Any] | None
) -> Iterator[tuple[str, str]]:
    """Yield name and SVG text of each chart of the page."""
    for key, drawing in search.items():
        if key.endswith("_chart") and drawing:
            yield key.removesuffix("_chart"), drawing
    if told and not told["missing"]:
        for number, one in enumerate(told["importances"], 1):
            yield "importance" if len(told["importances"]) == 1 else f"importance-{number}", one["chart"]
        if told["path"] and told["path"]["chart"]:
            yield "path", told["path"]["chart"]
    if evaluation:
        yield "confusion", evaluation["chart"]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _search(record: SearchRecord) -> dict[str, Any]:
    running = [trial for trial in record.trials if trial.status == "RUNNING"]
    seconds = [trial.seconds for trial in record.trials if trial.seconds is not None]
    done = bool(record.completed)
    rows, trials = proposals(record), trial_rows(record)
    several = len(record.objectives) > 1
    columns = [name for name, _ in record.objectives if name not in COSTS] if several else [record.objective]
    costs = cost_columns(record)
    foretold = [row for row in rows or [] if row["expected"] and row["expected"][1] > 0 and row["trial"].score is not None]
    return {
        "numbers": {trial.trial_id: i for i, trial in enumerate(record.trials, 1)},
        "running": bool(running),
        "state": _state(record, len(running)),
        "failed": sum(trial.status in ("FAILED", "INVALID") for trial in record.trials),
        "minutes": sum(seconds) / 60 if seconds else None,
        "best": record.best if done else None,
        "preferred": record.preferred if done else None,
        "proposals": rows,
        "foretold": len(foretold),
        "as_foretold": sum(not row["surprising"] for row in foretold),
        "several": several,
        "front": sorted(row["number"] for row in trials if row["front"]),
        "front_chart": front_chart(record),
        "economy": economy(record),
        "rejections": rejections(record),
        # The score of one of several objectives is its place among all others: it says nothing by itself.
        "trials_chart": trials_chart(record) if done and not several else None,
        "curves_chart": curves_chart(record),
        "foresight_chart": foresight_chart(record),
        "policy": any(trial.policy for trial in record.trials),
        "expected": any(trial.expected_score != trial.score for trial in record.completed),
        "belief_chart": belief_chart(record),
        "entropy_chart": entropy_chart(record),
        "crosses": any(trial.stopped is not None and trial.epochs for trial in record.trials),
        "columns": columns,
        "costs": costs,
        "width": 6 + several + len(columns) + len(costs),
        "rows": trials,
    }


def _state(record: SearchRecord, running: int) -> str:
    if running:  # or killed: the files look the same
        return f"running: {running} {'trial' if running == 1 else 'trials'} under way"
    if record.max_trials and len(record.trials) < record.max_trials:
        return f"not running: {len(record.trials)} of {record.max_trials} trials done"
    return "finished"


def _evaluation(folder: Path) -> dict[str, Any] | None:
    result = _json(folder / "evaluation.json")
    if result is None:
        return None
    labels = [row["label"] for row in result["classes"]]
    return {**result, "chart": confusion_chart(result["confusion"], labels), "interval": _interval(result)}


def _interval(result: dict[str, Any]) -> tuple[float, float]:
    """95 % Wilson score interval of the accuracy (Wilson 1927)."""
    n, p, z = result["samples"], result["accuracy"], 1.96
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def _structure(folder: Path) -> dict[str, Any] | None:
    rows = _json(folder / "structure.json")
    if rows is None:
        return None
    macs = [row["macs"] for row in rows if row["macs"] is not None]
    return {
        "rows": rows,
        "parameters": sum(row["parameters"] for row in rows),
        "macs": sum(macs),
        "most_parameters": max([row["parameters"] for row in rows] + [1]),
        "most_macs": max([*macs, 1]),
        "complete": len(macs) == len(rows),
    }


def _shipped(folder: Path, record: SearchRecord | None) -> dict[str, Any]:
    """Tell which trial the network in the folder comes from, the heaviest of an ensemble, or that another search made it.

    Where that is not the best one, `of_shipped` ends the titles of what is told of the network.
    """
    known = _json(folder / "classifier.json") or {}
    if record is None or not known.get("members"):
        return {"shipped": None, "stale": False, "outdated": False, "of_shipped": ""}
    trial, ended = record.shipped(known["members"], known["best_hyperparameters"]), known.get("trials_ended")
    differs = trial is not None and record.completed and trial != record.best
    return {
        "shipped": trial and trial.trial_id,
        "stale": trial is None,
        "outdated": ended is not None and len(record.ended) > ended,
        "of_shipped": f", trial {record.trials.index(trial) + 1}" if trial is not None and differs else "",
    }


def _measures(folder: Path) -> dict[str, Any] | None:
    told = _json(folder / "explanations" / "measures.json")
    if told is None:
        return None
    return {
        name.removesuffix("_count").removesuffix("_mean").replace("_", " "): int(value)
        if value is not None and value == int(value)
        else value
        for name, value in told.items()
    }


def _files(folder: Path) -> list[dict[str, Any]] | None:
    content = _json(folder / "verification.json")
    if content is None:
        return None
    rows = []
    for row in content["files"]:
        facts = {"drift": None, "certificate": None, "format": None, "reason": None, "samples": None, **row}
        if facts["drift"]:
            facts["drift"] = {"blank": 0.0, **facts["drift"]}
        differences = row["verification"]["max_abs_difference"].values()
        known = all(d is not None for d in differences)
        worst = max(differences) if known else None
        agreement = min(row["verification"].get("top1_agreement", {}).values(), default=None)
        rows.append({**facts, "agreement": agreement, "worst": worst, "kb": row["latency"]["size_bytes"] / 1000})
    return rows

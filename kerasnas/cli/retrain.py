"""`kerasnas retrain`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasnas.cli.backend_command import BackendCommand

if TYPE_CHECKING:
    from kerasnas.cli.run_folder import Run
    from kerasnas.explain.search import AblationPath
    from kerasnas.record import SearchRecord

__all__ = ["command", "retrain"]

_SEED = 1000  # of the first training of each configuration: another one than a search has, as a rule


@click.command(cls=BackendCommand, short_help="Train each change from the default to the winner.")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Trainings of each configuration.")
def command(run: Path, repeats: int) -> None:
    """Train what RUN's search only predicts: what each change on the way from the default to its winner gains.

    Every configuration of the path is trained as the trials of the search were, with other random numbers, and none is stopped
    early to make room for better ones. What is trained is kept in RUN/path, where the same command goes on after it was
    stopped; `kerasnas report` then shows what was measured beside what was predicted.
    """
    from kerasnas.cli.run_folder import Run

    told = retrain(Run.open(run, data=None, image_size=None, out=None), repeats=repeats)
    click.echo(str(told) if told.steps else "The winner is the default configuration: there is no change to train.")
    if told.measured is not None and told.measured_error is None:
        click.echo(f"To tell luck and gain apart: kerasnas retrain {shlex.quote(str(run))} --repeats 5")


def retrain(run: "Run", *, repeats: int = 1) -> "AblationPath":
    """Train the configurations of the path, and return it with its measured gains."""
    import keras_tuner as kt

    from kerasnas.errors import InvalidArgument
    from kerasnas.explain.search import ablation_path, measured_path
    from kerasnas.oracles import RandomOracle
    from kerasnas.record import SearchRecord
    from kerasnas.search.patience import patience
    from kerasnas.search.tuner import NASTuner

    record = SearchRecord.load(run.folder / "search")
    if len(record.objectives) > 1:
        raise InvalidArgument(
            f"Expected a search for one objective, got {len(record.objectives)}: their common score has no unit."
        )
    path = ablation_path(record)
    train, valid, space, settings = _setting(run)
    epochs, wanted = settings["epochs"], [dict(values) for values in path.configurations]
    if path.steps:
        often = "once" if repeats == 1 else f"{repeats} times"
        click.echo(f"training {len(wanted)} configurations {often} each{_time(record, repeats * len(wanted))}")
    for repeat in range(repeats if path.steps else 0):
        oracle = RandomOracle(
            objective=kt.Objective(record.objective, record.direction),
            max_trials=len(wanted),
            seed=_SEED + repeat,
            initial_points=wanted,
        )
        folder = run.folder / "path"
        stale = _others(folder / str(repeat), wanted)  # of an earlier winner
        tuner = NASTuner(space, oracle, directory=str(folder), project_name=str(repeat), overwrite=stale)
        tuner.search(
            *train,
            validation_data=valid,
            epochs=epochs,
            batch_size=settings["batch_size"],
            callbacks=patience(oracle.objective, epochs),
        )
    return measured_path(record, run.folder / "path")


def _setting(run: "Run") -> tuple[Any, Any, Any, dict[str, Any]]:
    """Return the data and the space of the search, and its epochs and batch size."""
    from kerasnas.errors import InvalidArgument
    from kerasnas.image_data import channel_statistics, split
    from kerasnas.search.claim import Claim
    from kerasnas.spaces.by_name import space_by_name

    data, classifier = run.required_data, run.classifier
    train, valid, classes = split(data.x_train, data.y_train, 0.2, None, classifier.seed)
    settings = json.loads((run.folder / "search" / "data.json").read_text("utf-8"))
    try:
        Claim(run.folder / "search", arrays=(*train, *valid), settings={}).check()
    except InvalidArgument:
        raise InvalidArgument(
            f"Expected the data that {run.folder} was searched on; those of {data.name} are others by now, and what is trained "
            "on them would not compare. In Python, ablation_path(record, train=...) takes a training of your own."
        ) from None
    mean, deviation = channel_statistics(train[0])
    name, space = space_by_name(classifier.space, train[0].shape[1:], len(classes), mean=mean, deviation=deviation)
    if name != settings["space"]:
        raise InvalidArgument(
            f"Expected a search in a space of kerasnas, got {settings['space']!r}. In Python, ablation_path(record, train=...) "
            "takes a training of your own."
        )
    return train, valid, space, settings


def _time(record: "SearchRecord", trainings: int) -> str:
    """Return how long so many trainings take, as the trials took that were not stopped."""
    seconds = [trial.seconds for trial in record.completed if trial.seconds is not None and trial.stopped is None]
    if not seconds:
        return ""
    total = sum(seconds) / len(seconds) * trainings
    return f", about {total / 60:.0f} min" if total > 90 else f", about {total:.0f} s"


def _others(project: Path, wanted: list[dict[str, Any]]) -> bool:
    """Tell whether a project folder holds trials of other configurations, those aside that were drawn in the place of twins."""
    from kerasnas.record import SearchRecord

    if not any(project.glob("trial_*/trial.json")):
        return False
    known = SearchRecord.load(project)
    drawn = sum(
        any(values.items() <= one.values.items() for values in wanted) for one in known.rejected if one.twin is not None
    )
    others = [trial for trial in known.trials if not any(values.items() <= trial.values.items() for values in wanted)]
    return len(others) > drawn

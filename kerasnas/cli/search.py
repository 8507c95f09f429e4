"""`kerasnas search`."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasnas.cli.backend_command import BackendCommand
from kerasnas.cli.options import image_size_option

if TYPE_CHECKING:
    from kerasnas.estimators import ImageClassifier

__all__ = ["ORACLES", "STOPPING", "command", "search"]

# Those of kerasnas.oracles.by_name, whose import would take seconds.
ORACLES = ["auto", "dyna", "evolution", "local-search", "ppo", "q-learning", "random", "reinforce"]
# Those of kerasnas.stopping.by_name.
STOPPING = ["auto", "asha", "learning-curve", "none"]

_FEW = 100  # test pictures: the 95 % interval of an accuracy is up to 10 points to both sides


@click.command(cls=BackendCommand, short_help="Search for an image classifier and train the winner.")
@click.argument("data")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="kerasnas-run", show_default=True)
@click.option("--max-trials", type=click.IntRange(1), default=20, show_default=True, help="Networks to try.")
@click.option(
    "--max-time",
    type=click.FloatRange(0, min_open=True),
    help="Seconds of the search at most; the final training comes on top.",
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True, help="Epochs of each trial at most.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--limit", type=click.IntRange(2), help="Use only so many training pictures, stratified.")
@image_size_option
@click.option("--oracle", type=click.Choice(ORACLES), default="auto", show_default=True, help="auto is dyna.")
@click.option("--space", type=click.Choice(["auto", "tiny", "small", "base"]), default="auto", show_default=True)
@click.option("--stopping", type=click.Choice(STOPPING), default="auto", show_default=True, help="auto is learning-curve.")
@click.option("--inherit", is_flag=True, help="Start networks from the weights of similar good ones.")
@click.option("--max-parameters", type=click.IntRange(1), help="Try no network with more.")
@click.option("--max-latency-ms", type=click.FloatRange(0, min_open=True), help="Try no network that is slower here.")
@click.option("--ensemble", type=click.IntRange(1), default=1, show_default=True, help="Average up to so many networks.")
@click.option("--objective", default="val_accuracy", show_default=True, help="val_accuracy, val_loss, ...")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Delete an earlier search in OUT instead of resuming it.")
@click.option("--quiet", is_flag=True)
def command(data: str, out: Path, quiet: bool, **settings: Any) -> None:
    """Search for a classifier of DATA, train the winner on all training pictures and test it.

    DATA is digits, fashion_mnist, cifar10, a folder with one sub-folder of pictures per class, or an .npz file with x and y.
    The same command resumes a search that was stopped or killed. What was made of the winner in OUT stays as long as that
    network wins, and is removed when another does. Writes OUT/model.keras, classifier.json, evaluation.json,
    structure.json and the search itself, OUT/search.
    """
    result = search(data, out, verbose=0 if quiet else 1, **settings)
    click.echo(
        f"test accuracy {result['accuracy']:.4f} on {result['samples']} pictures (always guessing the commonest class: "
        f"{result['majority_accuracy']:.4f}); wrote {out}/model.keras"
    )


def search(
    data: str,
    out: Path,
    *,
    max_trials: int,
    max_time: float | None = None,
    epochs: int,
    batch_size: int,
    limit: int | None = None,
    image_size: tuple[int, int] | None = None,
    oracle: str = "auto",
    space: str = "auto",
    stopping: str = "auto",
    inherit: bool = False,
    max_parameters: int | None = None,
    max_latency_ms: float | None = None,
    ensemble: int = 1,
    objective: str = "val_accuracy",
    seed: int = 0,
    overwrite: bool = False,
    verbose: int = 1,
) -> dict[str, Any]:
    """Run a search into the run folder `out`; return its evaluation."""
    from kerasnas.atomic import write_json
    from kerasnas.cli.evaluation import evaluate
    from kerasnas.cli.run_folder import check_own
    from kerasnas.datasets import load
    from kerasnas.errors import InvalidArgument
    from kerasnas.estimators import ImageClassifier
    from kerasnas.report.layers import layer_table

    check_own(out)
    dataset = load(data, image_size=image_size or None)
    if limit:
        dataset = dataset.take(limit)
    if (count := len(dataset.x_test)) < _FEW:
        click.echo(
            f"kerasnas: warning: {len(dataset.x_train)} training and {count} test pictures are few: the accuracy on the latter "
            f"can be {98 / count**0.5:.0f} points off (95 %)",
            err=True,
        )
    (out / "search").mkdir(parents=True, exist_ok=True)  # where nothing can be written, this says so best
    limits = {"parameters": max_parameters, "latency_ms": max_latency_ms}
    classifier = ImageClassifier(
        max_trials=max_trials,
        max_time=max_time,
        objective=objective,
        oracle=oracle,
        space=space,
        stopping=None if stopping == "none" else stopping,
        inherit=inherit,
        limits={name: limit for name, limit in limits.items() if limit is not None} or None,
        ensemble=ensemble,
        directory=str(out),
        project_name="search",
        overwrite=overwrite,
        seed=seed,
    )
    try:
        classifier.fit(dataset.x_train, dataset.y_train, epochs=epochs, batch_size=batch_size, verbose=verbose)
    except InvalidArgument:
        for folder in (out / "search", out):
            with suppress(OSError):
                folder.rmdir()  # if it is empty: nothing was begun
        raise
    result = evaluate(classifier, dataset)
    if (out / "run.json").exists():
        _remove_outdated(out, classifier, result, overwrite=overwrite)
    source = data if data in ("digits", "fashion_mnist", "cifar10") else str(Path(data).resolve())
    # run.json first and model.keras last: a folder with a model is complete.
    write_json(
        out / "run.json",
        {
            "data": source,
            "name": dataset.name,
            "limit": limit,
            "image_size": list(image_size) if image_size else None,
            "train": len(dataset.x_train),
            "test": len(dataset.x_test),
            "shape": list(classifier.model_.input_shape[1:]),
        },
    )
    write_json(out / "evaluation.json", result)
    write_json(out / "structure.json", layer_table(classifier.model_))
    classifier.write_files(out)
    return result


def _remove_outdated(out: Path, classifier: "ImageClassifier", result: dict[str, Any], *, overwrite: bool) -> None:
    """Remove, and tell, what was made of an earlier winner; of the same one only the page that tells of another search."""
    from kerasnas.cli.run_folder import remove_results

    earlier = _same_winner(out, classifier, result)
    if earlier is None:
        if removed := remove_results(out):
            click.echo(f"removed {', '.join(removed)}, made of an earlier winner: another network, or judged on other pictures")
    elif (page := out / "report.html").exists() and (overwrite or earlier.get("trials_ended") != classifier._trials_ended):
        page.unlink()
        click.echo("removed report.html, which tells of the search before this one: `kerasnas report` makes it anew")


def _same_winner(out: Path, classifier: "ImageClassifier", result: dict[str, Any]) -> dict[str, Any] | None:
    """Return what classifier.json in the folder tells, if its network is this one, with the same labels and test pictures."""
    from kerasnas.errors import InvalidArgument
    from kerasnas.export.model_digest import model_sha256
    from kerasnas.keras_file import load_model

    try:
        told, judged = (json.loads((out / f"{name}.json").read_text("utf-8")) for name in ("classifier", "evaluation"))
        digest = model_sha256(load_model(out / "model.keras"))
        facts = (told["classes"], told["pixel_range"], _judged(judged))
        alike = math.isclose(judged["loss"], result["loss"], rel_tol=1e-3, abs_tol=1e-6)  # another machine rounds otherwise
    except (InvalidArgument, OSError, ValueError, KeyError, TypeError):  # not there, or damaged
        return None
    same = alike and facts == (classifier.classes_.tolist(), list(classifier.pixel_range_), _judged(result))
    return told if same and digest is not None and digest == model_sha256(classifier.model_) else None


def _judged(evaluation: dict[str, Any]) -> list[Any]:
    """Return what tells the pictures of an evaluation, and the answers to them."""
    return [evaluation["samples"], evaluation["confusion"], [(row["label"], row["support"]) for row in evaluation["classes"]]]

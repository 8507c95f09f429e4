"""`kerasnas compress`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kerasnas.cli.backend_command import BackendCommand
from kerasnas.cli.options import data_option, image_size_option, model_argument, out_option

if TYPE_CHECKING:
    from kerasnas.cli.run_folder import Run
    from kerasnas.compression_search import Compression
    from kerasnas.estimators import ImageClassifier

__all__ = ["FORMATS", "cluster", "command", "compress", "prune_channels", "search"]

# Those of kerasnas.export.quantization_formats and compression_search.network_files, whose import would take seconds.
FORMATS = [
    "float16",
    "int8 weights",
    "dynamic",
    "S8S8",
    "S8S8 per tensor",
    "U8S8",
    "U8S8 reduce_range",
    "U8U8",
    "U8U8 percentile",
]
FORMATS += ["LiteRT float32", "LiteRT float16", "LiteRT int8", "LiteRT int16"]

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
_POSITIVE = click.FloatRange(0, min_open=True)
_TIMES = click.FloatRange(1)
_BOUNDS = ("max_loss", "max_bytes", "max_latency_ms", "smaller", "faster")
_OF_A_SEARCH = (*_BOUNDS, "format", "max_trials", "max_time", "overwrite")
_GOALS = ["smallest", "fastest", "most-accurate"]
_WAYS = ("goal", "channels", "macs", "latency_ms", "sparsity", "pattern")  # of which one is taken
_CHANNELS = {"channels", "macs", "latency_ms"}


class _Pattern(click.ParamType):
    """M:N as (m, n)."""

    name = "M:N"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        zeros, _, length = str(value).partition(":")
        if not (zeros.isdecimal() and length.isdecimal() and 0 < int(zeros) < int(length)):
            self.fail(f"Expected M:N with 0 < M < N, got {value!r}. 2:4 zeroes 2 of every 4 weights.", param, ctx)
        return int(zeros), int(length)


@click.command(cls=BackendCommand, short_help="Make a model smaller: by a search, fewer channels, zeros, or few values.")
@model_argument
@data_option
@image_size_option
@click.option("--goal", type=click.Choice(_GOALS), help="Search over pruning, fine-tuning and file formats for it.")
@click.option("--max-loss", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Accuracy that may be lost.")
@click.option("--max-bytes", type=_POSITIVE, help="Largest file, bytes.")
@click.option("--max-latency-ms", type=_POSITIVE, help="Slowest file, one picture on one thread here.")
@click.option("--smaller", type=_TIMES, help="The file must be so many times smaller than the original's, at least: 10.")
@click.option("--faster", type=_TIMES, help="It must be so many times as fast, at least: 3.")
@click.option(
    "--format",
    multiple=True,
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help=f"Try files in this format beside float32, such as 'LiteRT int8'; may be given several times. {', '.join(FORMATS)}.",
)
@click.option("--max-trials", type=click.IntRange(0), default=12, show_default=True, help="Networks that the search trains.")
@click.option("--max-time", type=_POSITIVE, help="Seconds of the search at most.")
@click.option("--channels", type=_SHARE, help="Remove this share of the channels of each layer.")
@click.option("--macs", type=_POSITIVE, help="Remove channels down to so many operations, or this share of them.")
@click.option("--latency-ms", type=_POSITIVE, help="Remove channels until one picture takes no longer here.")
@click.option("--sparsity", type=_SHARE, help="Make this share of the weights zero; 0.5 if nothing else is asked for.")
@click.option("--pattern", type=_Pattern(), help="Make M of every N weights in a row zero, such as 2:4.")
@click.option("--clusters", type=click.IntRange(3), help="Leave so many values in each kernel, at most; zeros stay.")
@click.option("--epochs", type=click.IntRange(1), help="Of fine-tuning: 4 for zeros or clusters, else 8; at most, in a search.")
@click.option("--control/--no-control", default=True, help="Compare with a network of that size from scratch.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--overwrite", is_flag=True, help="Delete an earlier compression search instead of resuming it; or replace what it chose."
)
@out_option
def command(model: Path, data: str | None, image_size: Any, out: Path | None, **settings: Any) -> None:
    """Make MODEL, a run folder or a .keras file, smaller, and fine-tune it on its training pictures.

    With --goal a search finds how far each part is pruned, how it is fine-tuned, and the file format; half of the test pictures
    judge the candidates, the other half has the last word. The same command resumes it. With --channels, --macs or
    --latency-ms channels go: the network is really smaller and faster. Both write OUT/model-compressed.onnx (.tflite, if a
    LiteRT format was asked for and chosen), its certificate, model-compressed.keras and compression.json; what a search chose
    is replaced by these options only with --overwrite. --sparsity and --pattern make weights exactly zero: a smaller download,
    not a faster network; that writes OUT/model-pruned.keras and pruning.json. --clusters makes the download smaller still, and
    writes OUT/model-clustered.keras and clustering.json: it starts from the pruned network, whose zeros it keeps, where there
    is one (made before, or by --sparsity or --pattern beside it), else from MODEL. Of a file NAME.keras all begin with NAME.
    Exit code 1 if no file of a search keeps the bounds; the one that comes nearest is written all the same.
    """
    from kerasnas.cli.run_folder import Run
    from kerasnas.errors import InvalidArgument

    ways = [name for name in _WAYS if settings[name] is not None]
    clusters = settings["clusters"]
    if len(ways) > 1:
        raise InvalidArgument(f"Expected one of {_options(_WAYS)}, got {_options(ways)}.")
    if clusters is not None and ways and ways[0] not in ("sparsity", "pattern"):
        raise InvalidArgument(f"Expected --clusters alone, or with --sparsity or --pattern, got it with {_options(ways)}.")
    context = click.get_current_context()
    spared = ("overwrite",) if ways and ways[0] in _CHANNELS else ()  # it lets what a search chose be replaced, too
    bounds = [
        name
        for name in _OF_A_SEARCH
        if name not in spared and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if bounds and settings["goal"] is None:
        raise InvalidArgument(
            f"Expected --goal beside {_options(bounds)}, for a search. Add --goal {', '.join(_GOALS[:-1])} or {_GOALS[-1]}."
        )
    run = Run.open(model, data=data, image_size=image_size or None, out=out)
    epochs, seed, way = settings["epochs"], settings["seed"], ways[0] if ways else "sparsity"
    if way in ("sparsity", "pattern"):
        if ways or clusters is None:
            result = compress(run, sparsity=settings["sparsity"], pattern=settings["pattern"], epochs=epochs or 4, seed=seed)
            _tell(run, result, "pruned")
        if clusters is not None:
            _tell(run, cluster(run, clusters=clusters, epochs=epochs or 4, seed=seed), "clustered")
        return
    if way != "goal" and not settings["overwrite"]:
        _spare(run)
    common = {"epochs": epochs or 8, "seed": seed, "control": settings["control"]}
    if way == "goal":
        bounded = {name: settings[name] for name in _OF_A_SEARCH if name != "format"}
        bounded |= {"formats": settings["format"]} if settings["format"] else {}
        found = search(run, goal=settings["goal"].replace("-", " "), **bounded, **common)
    else:
        found = prune_channels(run, **{way: settings[way]}, **common)
    click.echo(str(found))
    click.echo(f"wrote {run.folder}/{_kept_name(run, found)}")
    if not found.keeps_bounds:
        click.echo("kerasnas: no file keeps the bounds; see above", err=True)
        context.exit(1)


def _spare(run: "Run") -> None:
    """Refuse to replace what a search chose."""
    from kerasnas.compression_search.results import read_result
    from kerasnas.errors import InvalidArgument

    told = read_result(run.folder, run.figures("compression"))
    if told is not None and told["goal"] is not None and (run.folder / told["path"]).exists():
        raise InvalidArgument(
            f"Expected a folder without a file that a search chose, got one with {told['path']}, which --goal "
            f"{told['goal']['best'].replace(' ', '-')} made. Pass --overwrite to replace it and what was exported of it, or "
            "another --out."
        )


def _options(names: Sequence[str]) -> str:
    *first, last = [f"--{name.replace('_', '-')}" for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _tell(run: "Run", result: dict[str, Any], done: str) -> None:
    values = f", each kernel has at most {result['values']} values" if "values" in result else ""
    click.echo(
        f"{result['sparsity']:.0%} of the prunable kernel weights are zero{values}, "
        f"gzip {result['gzip_bytes_before'] / 1000:.1f} -> {result['gzip_bytes'] / 1000:.1f} kB, "
        f"test accuracy {result['accuracy_before']:.4f} -> {result['accuracy']:.4f}; "
        f"wrote {run.folder}/{run.name}-{done}.keras"
    )


def compress(
    run: "Run", *, sparsity: float | None = None, pattern: tuple[int, int] | None = None, epochs: int, seed: int = 0
) -> dict[str, Any]:
    """Prune the model of `run` to zeros, half of the weights unless told; return what was measured before and after."""
    data = run.required_data
    run.make_folder()
    settings: dict[str, Any] = {"sparsity": sparsity} if pattern is None else {"pattern": pattern}
    pruned = run.classifier.compress(data.x_train, data.y_train, epochs=epochs, seed=seed, **settings)
    result = {
        **_measured(run, run.classifier, pruned),
        **({} if pattern is None else {"pattern": f"{pattern[0]}:{pattern[1]}"}),
        "epochs": epochs,
    }
    run.forget_clustered()
    run.write(run.figures("pruning"), result)
    run.save_model(pruned.model_, f"{run.name}-pruned.keras")
    return result


def cluster(run: "Run", *, clusters: int, epochs: int, seed: int = 0) -> dict[str, Any]:
    """Leave few values in the kernels of the pruned model of `run`, where there is one, else of the model.

    Returns what was measured; "before" is the model that it started from.
    """
    from kerasnas.compress import sparsity_report

    data = run.required_data
    run.make_folder()
    pruned = next((variant for variant in run.variants() if variant.name == f"{run.name}-pruned"), None)
    start = run.classifier if pruned is None else pruned.classifier
    clustered = start.compress(
        data.x_train, data.y_train, clusters=clusters, preserve_sparsity=pruned is not None, epochs=epochs, seed=seed
    )
    result = {
        **_measured(run, start, clustered),
        "clusters": clusters,
        "values": max(kernel.distinct for kernel in sparsity_report(clustered.model_).kernels),
        "epochs": epochs,
        "pruning": None if pruned is None else pruned.compression[0],
    }
    run.write(run.figures("clustering"), result)
    run.save_model(clustered.model_, f"{run.name}-clustered.keras")
    return result


def _measured(run: "Run", classifier: "ImageClassifier", smaller: "ImageClassifier") -> dict[str, Any]:
    from kerasnas.compress import sparsity_report

    data = run.required_data
    before, after = sparsity_report(classifier.model_), sparsity_report(smaller.model_)
    return {
        "sparsity": after.sparsity,
        "sparsity_before": before.sparsity,
        "gzip_bytes": after.gzip_bytes,
        "gzip_bytes_before": before.gzip_bytes,
        "weights_bytes": after.weights_bytes,
        "accuracy": smaller.evaluate(data.x_test, data.y_test)["accuracy"],
        "accuracy_before": classifier.evaluate(data.x_test, data.y_test)["accuracy"],
    }


def search(run: "Run", *, goal: str, **settings: Any) -> "Compression":
    """Search for the best compression of the model of `run`, see `compression_search.compress`; leave its results."""
    data = run.required_data
    judges, last = _halves(data.y_test)
    smaller = run.classifier.compress(
        data.x_train,
        data.y_train,
        goal=goal,
        held_out=(data.x_test[judges], data.y_test[judges]),
        test=(data.x_test[last], data.y_test[last]),
        directory=run.compression_search,
        **settings,
    )
    return _leave(run, smaller.compression_)


def prune_channels(run: "Run", **settings: Any) -> "Compression":
    """Remove channels of the model of `run`, see `compression_search.prune_and_measure`; leave its results."""
    import warnings

    from kerasnas.compress import AlreadyWithinTarget
    from kerasnas.compression_search import measure_latency, prune_and_measure
    from kerasnas.image_data import to_codes, to_images

    data, classifier = run.required_data, run.classifier
    if "channels" in settings:
        settings["ratio"] = settings.pop("channels")
    if "latency_ms" in settings:
        settings |= {"cost": measure_latency, "target": settings.pop("latency_ms")}
    pairs = [
        (to_images(x), to_codes(y, classifier.classes_)) for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
    ]
    facts = classifier.export_facts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlreadyWithinTarget)  # the result says so
        found = prune_and_measure(classifier.model_, *pairs, export=facts, directory=run.compression_search, **settings)
    return _leave(run, found)


def _leave(run: "Run", found: "Compression") -> "Compression":
    """Put the chosen file, its certificate, its network and the table where the run's results are."""
    import shutil
    from dataclasses import replace

    from kerasnas.atomic import atomic_path
    from kerasnas.cli.run_folder import remove_exported
    from kerasnas.export import Certificate
    from kerasnas.export.certificate import certificate_path

    name = _kept_name(run, found)
    target, network = run.folder / name, run.folder / f"{run.name}-compressed.keras"
    for earlier in (target.with_suffix(".onnx"), target.with_suffix(".tflite")):
        if earlier != target:
            remove_exported(earlier)
    run.forget_exported(target.stem, keep=name)
    # Without a certificate in between, a kill leaves no file beside the certificate of another one.
    certificate_path(target).unlink(missing_ok=True)
    for made, place in ((found.path, target), (found.path.with_suffix(".keras"), network)):
        with atomic_path(place) as draft:
            shutil.copyfile(made, draft)
    certificate = Certificate.load(certificate_path(found.path))
    replace(certificate, file={**certificate.file, "name": name}).write(certificate_path(target))
    run.write(run.figures("compression"), {**found.to_dict(), "path": name})
    return found


def _kept_name(run: "Run", found: "Compression") -> str:
    return f"{run.name}-compressed{found.path.suffix}"


def _halves(labels: Any) -> tuple[Any, Any]:
    """Return the places of two halves of the test pictures, each class in both alike."""
    import numpy as np

    order = np.argsort(np.asarray(labels).astype(str), kind="stable")
    return np.sort(order[::2]), np.sort(order[1::2])

"""`kerasnas explain`."""

import dataclasses
import functools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasnas.cli.backend_command import BackendCommand
from kerasnas.cli.options import data_option, image_size_option, model_argument, out_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kerasnas.cli.run_folder import Run

__all__ = ["command", "explain"]

_USUAL = ("occlusion", "grad_cam")
_INSTEAD = {"grad_cam": "integrated_gradients"}
_MOST = 500  # pictures that are looked at for what needs many
_FEW = 200  # for what takes a prediction of each for every layer, or every part of a picture
_CLASSES = 16  # that a picture is made for
_NUMBERED = re.compile(r"\d{2,}-")  # how the maps of a single picture begin


@click.command(cls=BackendCommand, short_help="Show where in test pictures the evidence lies.")
@model_argument
@data_option
@image_size_option
@click.option("--images", "count", type=click.IntRange(1), default=8, show_default=True, help="Test pictures to explain.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="grad_cam, grad_cam_plus_plus, occlusion, rise, integrated_gradients, smooth_grad, gradient_x_input, "
    "vanilla_gradients, shap_values or lime_weights; may be given several times. By default occlusion and grad_cam, or "
    "integrated_gradients where grad_cam is no better than chance.",
)
@click.option("--trust/--no-trust", default=True, show_default=True, help="Measure how far each map can be believed.")
@out_option
def command(
    model: Path, data: str | None, image_size: Any, count: int, methods: tuple[str, ...], trust: bool, out: Path | None
) -> None:
    """Explain MODEL, a run folder or a .keras file, on its test pictures.

    Half of them are its most confident mistakes, as far as there are any; the others are right, of different classes. Writes
    OUT/explanations: a sheet for each method, single pictures, how far each map can be believed, and pictures of the model's
    structure, its weights and filters, what its layers compute and are worth, where in the pictures it looks, what excites each
    class, its mistakes and its regions. In a run folder those of RUN/NAME.keras go to OUT/NAME-explanations.
    """
    from kerasnas.cli.run_folder import Run

    run = Run.open(model, data=data, image_size=image_size or None, out=out)
    written = explain(run, count=count, methods=methods, trust=trust)
    told = ", ".join(sorted(file.name for file in written if not _NUMBERED.match(file.name)))
    click.echo(f"wrote {told} in {written[0].parent}")


def explain(run: "Run", *, count: int = 8, methods: "Sequence[str]" = (), trust: bool = True) -> list[Path]:
    """Write the explanations of the model and of `count` test pictures, and return the files; maps made earlier go.

    Without `methods` the usual ones are taken. On tiny pictures the last feature map may be a place or two, which tell
    nothing of where: where Grad-CAM marks nothing, or is no better than chance, integrated gradients stand in for it.
    """
    import numpy as np
    from PIL import Image

    from kerasnas.atomic import atomic_path
    from kerasnas.explain import interpretability
    from kerasnas.explain.by_name import map_method
    from kerasnas.image_data import to_codes, to_images

    for method in methods:
        map_method(method)  # a mistake is told before the work

    data, classifier = run.required_data, run.classifier
    folder = run.make_folder(run.explanations)
    pictures, codes = to_images(data.x_test), to_codes(data.y_test, classifier.classes_)
    probabilities = classifier.predict_proba(pictures)
    chosen = _choose(codes, probabilities, count)
    entries: list[dict[str, Any]] = [
        {
            "test_index": int(i),
            "label": str(classifier.classes_[codes[i]]),
            "predicted": str(classifier.classes_[probabilities[i].argmax()]),
            "probability": float(probabilities[i].max()),
            "files": {},
        }
        for i in chosen
    ]

    def save(pixels: Any, name: str) -> str:
        with atomic_path(folder / name) as draft:
            Image.fromarray(pixels).save(draft)
        return name

    details, verdicts, attributions, sheets = {}, {}, [], []
    for attribution, verdict in _maps(classifier, np.asarray(pictures[chosen]), methods, trust):
        method = attribution.method
        attributions.append(attribution)
        attribution.save(folder / f"{method}.png")
        sheets.append(f"{method}.png")
        details[method] = {key: value for key, value in attribution.details.items() if isinstance(value, str | int | float)}
        if verdict is not None:
            verdicts[method] = verdict.to_dict()
            click.echo(f"{method}: {verdict}")
        for k, entry in enumerate(entries):
            shown = None if attribution.blank[k] else save(attribution.to_image(k), f"{k:02d}-{method}.png")
            entry["files"][method] = shown
            if "picture" not in entry["files"]:
                entry["files"]["picture"] = save(attribution.to_image(k, alpha=0.0), f"{k:02d}-picture.png")
    name = folder.name
    run.write(f"{name}/explanations.json", {"model": run.name, "methods": details, "pictures": entries})
    run.write(f"{name}/trust.json", verdicts)
    maps = {*sheets, *(file for entry in entries for file in entry["files"].values() if file)}
    _remove_other_maps(folder, maps)
    inside = _look_inside(classifier, pictures, codes, chosen, folder)
    measures = interpretability(classifier.model_, attributions=attributions)
    finite = {name: value if math.isfinite(value) else None for name, value in measures.items()}
    run.write(f"{name}/measures.json", finite)
    return [folder / file for file in ("explanations.json", "trust.json", "measures.json", *sorted(maps), *inside)]


def _remove_other_maps(folder: Path, maps: set[str]) -> None:
    """Remove the sheets and single pictures of earlier explanations, of which explanations.json no longer tells."""
    from kerasnas.explain.by_name import METHODS

    known = {"picture", *(method.__name__ for method in METHODS)}
    for path in list(folder.glob("*.png")):
        if path.name not in maps and _NUMBERED.sub("", path.stem) in known:
            path.unlink()


def _maps(classifier: Any, images: Any, methods: "Sequence[str]", trust: bool) -> "Iterator[tuple[Any, Any]]":
    """Yield the maps of each method, and how far they can be believed; None where that is not asked for."""
    from kerasnas.errors import InvalidArgument

    for method in dict.fromkeys(methods or _USUAL):
        click.echo(f"  {method} of {len(images)} pictures", err=True)
        try:
            maps = classifier.explain(images, method=method)
        except InvalidArgument as error:
            if methods or method not in _INSTEAD:
                raise
            click.echo(f"{error} {_INSTEAD[method]} instead")
            maps = classifier.explain(images, method=_INSTEAD[method])
        verdict = maps.trust() if trust else None
        empty = maps.blank.mean() > 0.5
        if (
            not methods
            and maps.method in _INSTEAD  # not what stands in for it already
            and (empty or (verdict is not None and verdict.verdict == "no better than chance"))
        ):
            why = "marks nothing in most pictures" if empty else "is no better than chance"
            click.echo(f"{method} {why} here: {_INSTEAD[method]} instead")
            maps = classifier.explain(images, method=_INSTEAD[method])
            verdict = maps.trust() if trust else None
        yield maps, verdict


def _look_inside(classifier: Any, pictures: Any, codes: Any, chosen: Any, folder: Path) -> list[str]:
    """Draw what the model is made of, and what it makes of the test pictures; return the names of the pictures.

    What a model has no picture of is told.
    """
    import numpy as np

    from kerasnas import explain
    from kerasnas.datasets import places_of_some
    from kerasnas.errors import InvalidArgument

    labels = tuple(str(label) for label in classifier.classes_)
    model = classifier.model_
    some, few = places_of_some(pictures, _MOST), places_of_some(pictures, _FEW)
    pixels = np.asarray(pictures[some], np.float32)
    classes = list(range(min(len(labels), _CLASSES)))
    because = functools.partial(explain.occlusion, model)
    makers: dict[str, Callable[[], Any]] = {
        "structure.svg": lambda: _structure(model, pictures[few]),
        "weights.png": lambda: explain.weight_statistics(model, pictures[some]),
        "filters.png": lambda: explain.filters(model),
        "activations.png": lambda: explain.activation_maps(model, np.asarray(pictures[chosen])),
        "classes.png": lambda: dataclasses.replace(
            explain.feature_visualisation(model, None, classes, low=pixels.min(), high=pixels.max()), labels=labels
        ),
        "layers.png": lambda: _worth_of_layers(model, pictures[few], codes[few]),
        "places.png": lambda: explain.permutation_importance(model, pictures[few], codes[few]),
        "confusion.png": lambda: explain.confusion(model, pictures, codes, labels=labels, explain=because),
        "regions.png": lambda: explain.decision_boundary(model, pictures[some], codes[some], labels=labels),
    }
    drawn = []
    for name, make in makers.items():
        click.echo(f"  {name}", err=True)
        try:
            made = make()
        except InvalidArgument as error:
            click.echo(f"no {name}: {error}")
            (folder / name).unlink(missing_ok=True)  # one of an earlier model
        else:
            made.save(folder / name)
            drawn.append(name)
    return drawn


def _structure(model: Any, x: Any) -> Any:
    """Return the structure, with the time of each layer where they can be run one by one."""
    from kerasnas.errors import InvalidArgument
    from kerasnas.explain import layer_latency, structure

    try:
        return structure(model, latency=layer_latency(model, x))
    except InvalidArgument as error:
        click.echo(f"no times in structure.svg: {error}")
        return structure(model)


def _worth_of_layers(model: Any, x: Any, y: Any) -> Any:
    """Return what `layer_importance` measured, unless no path leads around any layer: then it is the same for each."""
    import numpy as np

    from kerasnas.errors import InvalidArgument
    from kerasnas.explain import layer_importance

    found = layer_importance(model, x, y, ways=("mean",))
    changes = [row.loss_change for row in found.rows]
    if len(changes) > 1 and np.ptp(changes) <= 1e-3 * np.abs(changes).max():
        raise InvalidArgument("No path leads around any layer, and the loss without it is the same for each: it tells nothing.")
    return found


def _choose(codes: Any, probabilities: Any, count: int) -> Any:
    """Return the most confident mistakes, at most half of `count`, then right ones class by class, most confident first.

    Where too few are right, there are more mistakes.
    """
    import numpy as np

    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    mistakes = [int(i) for i in order if predicted[i] != codes[i]]
    right = [i for i in order if predicted[i] == codes[i]]
    wrong = mistakes[: max(count // 2, count - len(right))]
    # Round robin over classes: the first of each class, then the second of each, ...
    rank: dict[int, int] = {}
    keyed = []
    for i in right:
        keyed.append((rank.get(int(codes[i]), 0), int(codes[i]), int(i)))
        rank[int(codes[i])] = rank.get(int(codes[i]), 0) + 1
    return np.asarray(wrong + [i for _, _, i in sorted(keyed)][: count - len(wrong)], int)

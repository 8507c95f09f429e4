"""`kerasnas explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasnas.cli.backend_command import BackendCommand
from kerasnas.cli.options import data_option, image_size_option, model_argument, out_option

if TYPE_CHECKING:
    from kerasnas.cli.run_folder import Run

__all__ = ["command", "explain"]

_METHODS = ("grad_cam", "occlusion")


@click.command(cls=BackendCommand, short_help="Show where in test pictures the evidence lies.")
@model_argument
@data_option
@image_size_option
@click.option("--images", "count", type=click.IntRange(1), default=8, show_default=True, help="Test pictures to explain.")
@out_option
def command(model: Path, data: str | None, image_size: Any, count: int, out: Path | None) -> None:
    """Explain MODEL, a run folder or a .keras file, on its test pictures.

    Half of them are its most confident mistakes, as far as there are any; the others are right, of different classes. Writes
    OUT/explanations: a sheet for each method, single pictures, and explanations.json.
    """
    from kerasnas.cli.run_folder import Run

    folder = explain(Run.open(model, data=data, image_size=image_size or None, out=out), count=count)
    click.echo(f"wrote {folder}/grad_cam.png and occlusion.png")


def explain(run: "Run", *, count: int = 8) -> Path:
    """Write the explanations of `count` test pictures and return their folder."""
    import numpy as np
    from PIL import Image

    from kerasnas.atomic import atomic_path
    from kerasnas.image_data import to_codes, to_images

    data, classifier = run.required_data, run.classifier
    pictures, codes = to_images(data.x_test), to_codes(data.y_test, classifier.classes_)
    probabilities = classifier.predict_proba(pictures)
    chosen = _choose(codes, probabilities, count)
    folder = run.folder / "explanations"
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

    details = {}
    for method in _METHODS:
        attribution = classifier.explain(np.asarray(pictures[chosen]), method=method)
        attribution.save(folder / f"{method}.png")
        details[method] = {key: value for key, value in attribution.details.items() if isinstance(value, str | int | float)}
        for k, entry in enumerate(entries):
            entry["files"][method] = save(attribution.to_image(k), f"{k:02d}-{method}.png")
            if method == _METHODS[0]:
                entry["files"]["picture"] = save(attribution.to_image(k, alpha=0.0), f"{k:02d}-picture.png")
    run.write("explanations/explanations.json", {"methods": details, "pictures": entries})
    return folder


def _choose(codes: Any, probabilities: Any, count: int) -> Any:
    """Return the most confident mistakes, at most half of `count`, then right ones class by class, most confident first."""
    import numpy as np

    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = [i for i in order if predicted[i] != codes[i]][: count // 2]
    right = [i for i in order if predicted[i] == codes[i]]
    # Round robin over classes: the first of each class, then the second of each, ...
    rank: dict[int, int] = {}
    keyed = []
    for i in right:
        keyed.append((rank.get(int(codes[i]), 0), int(codes[i]), int(i)))
        rank[int(codes[i])] = rank.get(int(codes[i]), 0) + 1
    return np.asarray(wrong + [i for _, _, i in sorted(keyed)][: count - len(wrong)])

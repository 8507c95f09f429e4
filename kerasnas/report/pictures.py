"""The pictures that `kerasnas explain` left beside a search, as the page holds them."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["explained_pictures", "inner_pictures"]

_FOLDER = "explanations"
_NAMES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "occlusion": "occlusion",
    "rise": "RISE",
    "integrated_gradients": "Integrated Gradients",
    "smooth_grad": "SmoothGrad",
    "gradient_x_input": "gradient x input",
    "vanilla_gradients": "vanilla gradients",
    "shap_values": "SHAP",
    "lime_weights": "LIME",
}
_INSIDE = {
    "structure.svg": "The structure of the network: where parameters, operations and time go",
    "weights.png": "Its weights and what its units do, layer by layer",
    "filters.png": "What its first filters look for",
    "activations.png": "What its last feature maps see in the explained pictures",
    "classes.png": "Pictures that excite each class, made by gradient ascent",
    "layers.png": "The loss with the mean over all pictures in the place of what a layer says",
    "places.png": "Where in the pictures it looks: the loss when a part comes from another picture",
    "confusion.png": "What it takes for what, and its most confident mistakes",
    "regions.png": "Its classes among the features before the last layer",
}
_NOTES = {
    "structure.svg": "Time: each layer by itself in TensorFlow, for one picture, on the machine that explained it; a runtime "
    "that joins layers divides it otherwise.",
    "layers.png": "Where no path leads around a layer, all goes through it, and its figure is that of the whole chain.",
    "regions.png": "One plane through a space of many dimensions: classes that lie upon one another here, or have no region, "
    "the network may well tell apart by the other dimensions. Crosses are its only mistakes.",
    "classes.png": "Nothing but the score was asked for, so that many pictures excite a class without looking like it.",
}
_MEANINGS = {
    "grad_cam": "where the last feature map speaks for the class",
    "grad_cam_plus_plus": "where the last feature map speaks for the class, several objects counted alike",
    "occlusion": "how far the score falls when a patch is covered",
    "rise": "how high the score is, on average, when a pixel is among those left visible",
    "integrated_gradients": "what each pixel adds to the score on the way from a neutral picture",
    "smooth_grad": "how a pixel moves the score, averaged over noisy copies",
    "gradient_x_input": "the slope of the score at a pixel times the pixel",
    "vanilla_gradients": "the slope of the score at a pixel",
    "shap_values": "what each part adds to the score, on average over the orders in which parts appear",
    "lime_weights": "what each part adds to the score, by a linear model of it around the picture",
}


def explained_pictures(folder: Path) -> dict[str, Any] | None:
    """Return the explained test pictures with their maps, and how far each kind of map can be believed; None without any.

    Returns:
        `methods` as the file tells them; `maps`, for each kind its name, meaning, verdict and text (None where trust was not
        measured); `pictures`, each with `picture` and `maps`: name, data URI (None for a map that
        marks nothing) and verdict.
    """
    content = _json(folder / _FOLDER / "explanations.json")
    if content is None:
        return None
    told = _json(folder / _FOLDER / "trust.json")
    kinds = dict.fromkeys(kind for entry in content["pictures"] for kind in entry["files"] if kind != "picture")
    trust = {kind: _trust(told, kind, len(content["pictures"])) for kind in kinds}
    for place, entry in enumerate(content["pictures"]):
        images = {kind: name and _uri(folder / _FOLDER / name, "image/png") for kind, name in entry["files"].items()}
        entry["picture"] = images.pop("picture", None)
        entry["maps"] = [  # none without its verdict
            {"name": _name(kind), "image": image, "verdict": trust[kind]["verdicts"][place]}
            for kind, image in images.items()
            if trust[kind]["text"] is not None
        ]
    maps = [{"name": _name(kind), "meaning": _meaning(kind, content["methods"])} | trust[kind] for kind in kinds]
    methods = {_name(kind): facts for kind, facts in content["methods"].items()}
    return {**content, "maps": maps, "methods": methods}


def inner_pictures(folder: Path) -> list[dict[str, str]]:
    """Return title, image and note of the pictures of the winner's inside: data URIs for <img>, where no script runs."""
    there = {name: folder / _FOLDER / name for name in _INSIDE if (folder / _FOLDER / name).exists()}
    kinds = {".svg": "image/svg+xml", ".png": "image/png"}
    return [
        {"title": _INSIDE[name], "image": _uri(path, kinds[path.suffix]), "note": _note(name, there)}
        for name, path in there.items()
    ]


def _note(name: str, there: Mapping[str, Path]) -> str:
    alike = " The loss without a layer is not shown: where no path leads around any, it is the same for each and tells nothing."
    return _NOTES.get(name, "") + (alike if name == "structure.svg" and "layers.png" not in there else "")


def _trust(told: Any, kind: str, pictures: int) -> dict[str, Any]:
    """Return verdict, text and the verdicts on the single pictures; None for what was not measured."""
    entry = told.get(kind) if isinstance(told, Mapping) else None
    if not isinstance(entry, Mapping) or not all(isinstance(entry.get(key), str) for key in ("verdict", "text")):
        return {"verdict": None, "text": None, "verdicts": [None] * pictures}
    verdicts = entry.get("verdicts")
    whole = isinstance(verdicts, list) and len(verdicts) == pictures and all(isinstance(one, str) for one in verdicts)
    return {"verdict": entry["verdict"], "text": entry["text"], "verdicts": verdicts if whole else [None] * pictures}


def _meaning(kind: str, methods: Mapping[str, Mapping[str, Any]]) -> str | None:
    meaning = _MEANINGS.get(kind)
    if kind != "integrated_gradients" or meaning is None:
        return meaning
    baseline = methods.get(kind, {}).get("baseline")
    if baseline == "mean":
        return (
            f"{meaning}, each channel at its mean over the picture. So an empty background, which is darker or "
            "lighter than that, has its share: specks there are what the network reads off it"
        )
    return meaning if baseline is None else f"{meaning}, all of it {baseline}"


def _name(kind: str) -> str:
    return _NAMES.get(kind, kind.replace("_", " "))


def _uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

"""A fitted classifier as a folder: `model.keras`, `classifier.json`, and the file that a compression chose."""

import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import kerasnas
from kerasnas.atomic import atomic_path, write_json
from kerasnas.classifier_compression import ChosenFile
from kerasnas.errors import InvalidArgument
from kerasnas.keras_file import load_model
from kerasnas.record import SearchRecord

__all__ = ["read_classifier", "save_classifier", "write_classifier"]

_CHOSEN = ("chosen.onnx", "chosen.tflite")


def save_classifier(classifier: Any, target: Path) -> None:
    """Write a folder of its own, or replace the files of an earlier classifier in one; see `ImageClassifier.save`."""
    if target.exists() and not (target / "classifier.json").exists():
        raise InvalidArgument(f"{target} exists and is no saved classifier; choose another path.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        draft = Path(folder) / target.name
        draft.mkdir()  # with the usual permissions, unlike the temporary folder itself
        write_classifier(classifier, draft)
        if target.exists():  # file by file: it may hold exports, a report or the search, too
            _forget_chosen(target)
            for file in draft.iterdir():
                os.replace(file, target / file.name)
        else:
            draft.rename(target)


def write_classifier(classifier: Any, folder: Path) -> None:
    """Write the files into an existing folder, the network last: a run folder that has one is complete."""
    chosen = _write_chosen(classifier, folder)
    settings = {name: str(v) if isinstance(v, Path) else v for name, v in classifier.get_params().items()}
    write_json(
        folder / "classifier.json",
        {
            "kerasnas": kerasnas.__version__,
            "classes": classifier.classes_.tolist(),
            "classes_dtype": "str" if classifier.classes_.dtype.kind == "U" else str(classifier.classes_.dtype),
            "pixel_range": list(classifier.pixel_range_),
            "best_hyperparameters": classifier.best_hyperparameters_,
            "epochs": classifier.epochs_,
            "history": classifier.history_,
            "chosen": chosen,
            "members": getattr(classifier, "members_", None),
            "trials_ended": getattr(classifier, "_trials_ended", None),  # when the network was made
            "project": str(classifier.record_.path.resolve()) if getattr(classifier, "record_", None) else None,
            "parameters": {name: v for name, v in settings.items() if isinstance(v, str | int | float | bool | None)},
        },
    )
    with atomic_path(folder / "model.keras") as draft:
        classifier.model_.save(draft)


def read_classifier(kind: type, path: Path) -> Any:
    """Return a `kind` from what `write_classifier` wrote; see `ImageClassifier.load`."""
    if not ((path / "classifier.json").is_file() and (path / "model.keras").is_file()):
        raise InvalidArgument(f"Expected a folder with classifier.json and model.keras, as save() writes it, got '{path}'.")
    try:
        state = json.loads((path / "classifier.json").read_text(encoding="utf-8"))
        classifier = kind(**state["parameters"])
        classifier.classes_ = np.asarray(state["classes"], dtype=state["classes_dtype"])
        classifier.pixel_range_ = tuple(state["pixel_range"])
        classifier.best_hyperparameters_ = state["best_hyperparameters"]
        classifier.epochs_, classifier.history_ = state["epochs"], state["history"]
        classifier.members_ = state.get("members") or {}
        classifier._trials_ended = state.get("trials_ended")
        # A folder that was copied has its own search beside it.
        projects = [path / Path(state["project"]).name, Path(state["project"])] if state["project"] else []
        chosen = state.get("chosen")
        place, form, digest = (chosen[name] for name in ("file", "format", "sha256")) if chosen else ("", "", "")
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgument(f"{path}/classifier.json is damaged: {type(error).__name__} {error}.") from error
    classifier.model_ = load_model(path / "model.keras")
    if chosen:
        classifier._chosen = ChosenFile(classifier.model_, path / Path(place).name, form, digest)
    members, hyperparameters = classifier.members_, classifier.best_hyperparameters_
    there = [one for one in projects if any(one.glob("trial_*/trial.json"))]
    for record in map(SearchRecord.load, there):
        if not members or record.shipped(members, hyperparameters) is not None:
            classifier.record_ = record
            break
    else:
        if there:
            warnings.warn(f"{there[0]} holds another search than the one that made this classifier: left out.", stacklevel=4)
    return classifier


def _write_chosen(classifier: Any, folder: Path) -> dict[str, str] | None:
    """Copy the file that a compression chose into the folder, in place of an earlier one; return how to find it."""
    found = getattr(classifier, "_chosen", None)
    if found is None or found.model is not classifier.model_:
        _forget_chosen(folder)
        return None
    if not found.is_there:
        _forget_chosen(folder)
        warnings.warn(
            f"The file that the compression chose, {found.path}, is gone or was replaced: only its network is saved, in "
            "float32.",
            stacklevel=4,
        )
        return None
    place = folder / f"chosen{found.path.suffix}"
    with atomic_path(place) as draft:  # it may be the file itself, of a classifier that was loaded from here
        shutil.copyfile(found.path, draft)
    _forget_chosen(folder, keep=place.name)
    return {"file": place.name, "format": found.format, "sha256": found.sha256}


def _forget_chosen(folder: Path, keep: str = "") -> None:
    for name in _CHOSEN:
        if name != keep:
            (folder / name).unlink(missing_ok=True)

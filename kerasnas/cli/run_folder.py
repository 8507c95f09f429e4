"""A run folder: what `kerasnas search` leaves and the other sub-commands add to."""

import copy
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from kerasnas.atomic import atomic_path, write_json
from kerasnas.cli.options import LITERT
from kerasnas.datasets import Dataset, load
from kerasnas.errors import InvalidArgument
from kerasnas.estimators import ImageClassifier
from kerasnas.export.certificate import Certificate, certificate_path
from kerasnas.export.model_digest import weights_sha256
from kerasnas.image_data import encode_labels, pixel_range
from kerasnas.keras_file import load_model

if TYPE_CHECKING:
    import keras

__all__ = ["Run", "Variant", "check_own", "remove_exported", "remove_results"]

# What is made of a winner, and must not outlive it.
_RESULTS = (
    "model.keras",
    "model-*.keras",
    "pruning.json",
    "clustering.json",
    "compression.json",
    *(f"model-*-{what}.json" for what in ("pruning", "clustering", "compression")),  # of a file of the run
    "verification.json",
    "report.html",
)
_EXPORTED = ("model.onnx", "model-*.onnx", "model-*.tflite")  # with their certificates
_OF_A_SEARCH = ("classifier.json", "evaluation.json", "structure.json")
# Names of models whose certificates, or figures, would be taken for these files, or overwrite them.
_RESERVED = {"run", *(name.removesuffix(".json") for name in (*_RESULTS, *_OF_A_SEARCH) if name.endswith(".json"))}
_FOLDERS = ("explanations", "model-*-explanations", "compression", "model-*-compression", "path")
# Of the winner, by `kerasnas compress`, and the files that tell of it.
_MADE = {"pruned": "pruning", "clustered": "clustering", "compressed": "compression"}


def check_own(folder: Path) -> None:
    """Refuse a folder in which no search was begun, and which has files or folders that a search would replace or remove.

    Raises:
        InvalidArgument: if it has.
    """
    if (folder / "run.json").exists() or any(folder.glob("search/*")):
        return
    found = sorted({path.name for name in (*_RESULTS, *_EXPORTED, *_OF_A_SEARCH, *_FOLDERS) for path in folder.glob(name)})
    if found:
        raise InvalidArgument(
            f"Expected a new folder or that of an earlier search, got {folder}, which has {', '.join(found)}: a search would "
            "replace or remove them. Pass another --out."
        )


def remove_results(folder: Path) -> list[str]:
    """Remove what the commands have made of an earlier winner in a run folder, and return its names; the search stays.

    The winner goes with it, but is not named: another takes its place.
    """
    (folder / "model.keras").unlink(missing_ok=True)  # first: a folder that has one is complete
    exported, results, folders = (
        sorted({path for name in names for path in folder.glob(name)}) for names in (_EXPORTED, _RESULTS, _FOLDERS)
    )
    for path in exported:
        remove_exported(path)
    for path in results:
        path.unlink(missing_ok=True)  # one of that name may have been the certificate of an exported file
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)
    return [*(path.name for path in (*exported, *results)), *(f"{path.name}/" for path in folders)]


def remove_exported(path: Path) -> None:
    """Remove an exported file and its certificate, where they are."""
    path.unlink(missing_ok=True)
    certificate = certificate_path(path)
    if _is_certificate(certificate):
        certificate.unlink()


@dataclass(frozen=True)
class Variant:
    """A network of a run that can be exported.

    Attributes:
        name: what its files are called, without their ends.
        classifier: the classifier.
        compression: what was done to make it smaller, in order; each step names its method.
        file: the file that was made of it, in a format that was chosen with it; None where it is still to be exported.
        sha256: of `file` when it was chosen; None if that was not told.
        reason: why this network and this format.
    """

    name: str
    classifier: ImageClassifier
    compression: tuple[dict[str, Any], ...] = ()
    file: Path | None = None
    sha256: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Run:
    """A fitted classifier, the data it is judged on, and the folder that takes the results.

    Attributes:
        folder: where results go.
        model: the run folder or the .keras file that the classifier was read from.
        classifier: the classifier of `model.keras`.
        data: its dataset; None if none was named.
    """

    folder: Path
    model: Path
    classifier: ImageClassifier
    data: Dataset | None

    @classmethod
    def open(cls, model: Path, *, data: str | None, image_size: tuple[int, int] | None, out: Path | None) -> "Run":
        """Open a run folder, or a .keras file with the data that names its classes.

        The files of a run stand for what they are in it: `RUN/model.keras` for the run, `RUN/model-pruned.keras` and the like
        for that network with the data of the run.

        Raises:
            InvalidArgument: if `model` is neither, or its name is that of a file of kerasnas.
        """
        if not model.is_dir() and model.suffix != ".keras":
            raise InvalidArgument(f"Expected a run folder of `kerasnas search` or a .keras file, got {str(model)!r}.")
        if not model.is_dir() and model.stem in _RESERVED:
            raise InvalidArgument(
                f"Expected a model of another name than {model.name}, whose files would be taken for kerasnas' own "
                f"{model.stem}.json. Rename it."
            )
        beside = not model.is_dir() and _is_run(model.parent)
        if beside and model.name == "model.keras":
            model = model.parent
        of_the_run = model.is_dir() or (beside and model.name in [f"model-{done}.keras" for done in _MADE])
        folder = model if model.is_dir() else model.parent
        known = _read_if_there(folder / "run.json") if of_the_run else {}
        size, source = image_size or known.get("image_size"), data or known.get("data")
        dataset = load(source, image_size=tuple(size) if size else None) if source else None
        if dataset is not None and data is None and known.get("limit"):
            dataset = dataset.take(known["limit"])
        classifier = ImageClassifier.load(model) if model.is_dir() else _classifier_of(model, dataset)
        return cls(out or folder, model, classifier, dataset)

    @property
    def name(self) -> str:
        """What files made of the model begin with."""
        return "model" if self.model.is_dir() else self.model.stem

    @property
    def is_bare(self) -> bool:
        """Whether nothing is known of its labels and pixel values: a .keras file without data."""
        return self.model.is_file() and self.data is None

    @property
    def required_data(self) -> Dataset:
        """The dataset.

        Raises:
            InvalidArgument: if none was named.
        """
        if self.data is None:
            raise InvalidArgument("Expected data for this model, got none. Pass --data NAME, FOLDER or FILE.npz.")
        return self.data

    def make_folder(self, name: str = "") -> Path:
        """Make the folder of the results, or one in it, and try to write there: before the work, not after.

        Raises:
            InvalidArgument: if nothing can be written there.
        """
        folder = self.folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            raise InvalidArgument(
                f"Expected a folder that can be written to, got {folder}: {error.strerror}. Pass another --out."
            ) from error

    def figures(self, what: str) -> str:
        """Name the file that tells of the "pruning", "clustering" or "compression" of the model.

        Of a .keras file it begins with its name: a folder may hold several.
        """
        return _figures(self.name, what)

    @property
    def explanations(self) -> str:
        """Name the folder of the explanations: "explanations" is that of a run's winner, or of the first network here."""
        told = _read_if_there(self.folder / "explanations" / "explanations.json")
        of_another = self.name != "model" and (_is_run(self.folder) or told.get("model", self.name) != self.name)
        return f"{self.name}-explanations" if of_another else "explanations"

    @property
    def compression_search(self) -> Path:
        """The folder of the search for a smaller network: each network has its own."""
        return self.folder / ("compression" if self.name == "model" else f"{self.name}-compression")

    def uncompressed(self) -> ImageClassifier:
        """Return the classifier before it was made smaller: that of `NAME.keras` beside a `NAME-pruned.keras` and the like."""
        stem, _ = self._made_of
        return self._with_model(self.model.with_name(f"{stem}.keras")) if stem else self.classifier

    def other_rows(self, rows: Sequence[dict[str, Any]], *, failed: bool) -> list[dict[str, Any]]:
        """Return the rows of verification.json that stay beside those of the files that were just exported.

        They are those of other networks where a .keras file is exported by itself, and those of files that a failure has left
        as they were.
        """
        if self.model.is_dir() and not failed:
            return []
        gone = {row["file"] for row in rows} | set(() if failed else _exported(self.name))
        told = _read_if_there(self.folder / "verification.json")
        return [row for row in told.get("files", ()) if row["file"] not in gone and (self.folder / row["file"]).is_file()]

    def outdated(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Return the exported files that are not of these rows, and whose certificates are of other weights."""
        written, found = {row["file"] for row in rows}, []
        for variant in self.variants():
            others = [name for name in _exported(variant.name) if name not in written and (self.folder / name).is_file()]
            weights = weights_sha256(variant.classifier.model_) if others else None
            certified = {name: _certified_weights(self.folder / name) for name in others}
            found += [name for name, of in certified.items() if of not in (None, weights)]
        return found

    @property
    def _made_of(self) -> tuple[str, str]:
        """Name the network beside the model that `kerasnas compress` made it of, and how; "" if there is none."""
        stem, _, done = self.name.rpartition("-")
        there = self.model.is_file() and done in _MADE and self.model.with_name(f"{stem}.keras").is_file()
        there = there and self.model.with_name(_figures(stem, _MADE[done])).is_file()  # else they only bear such names
        return (stem, done) if there else ("", "")

    def variants(self) -> list[Variant]:
        """Return the network and what `kerasnas compress` has made of it, in `folder` or beside the model."""
        chosen = getattr(self.classifier, "_chosen", None)  # of a classifier that was compressed, and saved with its file
        own = {"file": chosen.path, "sha256": chosen.sha256, "reason": f"Chosen as {chosen.format}."} if chosen else {}
        stem, done = self._made_of
        found = [Variant(self.name, self.classifier, _steps(self.model, stem, done) if stem else (), **own)]
        pruned, clustered, small = map(self._made, _MADE)
        for path, done in ((pruned, "pruned"), (clustered, "clustered")):
            if path is not None:
                found.append(Variant(path.stem, self._with_model(path), _steps(path, self.name, done)))
        ends = () if small is None else (small.with_suffix(".onnx"), small.with_suffix(".tflite"))
        file = next((end for end in ends if end.exists()), None)
        if small is not None and file is not None:
            told = _read_if_there(small.with_name(self.figures("compression")))
            steps = _steps(small, self.name, "compressed")
            found.append(Variant(small.stem, self._with_model(small), steps, file, told.get("sha256"), told.get("reason")))
        return found

    def provenance(self) -> dict[str, Any]:
        """Return where the network comes from, as a certificate tells it."""
        model = self.model.resolve()  # named without the path to it, which is nobody else's business
        told: dict[str, Any] = {"model": model.name}
        if self.data is not None:
            told["data"] = self.data.name
        classifier, record = self.classifier, getattr(self.classifier, "record_", None)
        if self.model.is_dir():
            members = getattr(classifier, "members_", None) or {}
            told |= {
                "trial_id": max(members, key=lambda trial: members[trial], default=None),
                "members": members,
                "hyperparameters": classifier.best_hyperparameters_,
                "epochs": classifier.epochs_,
            }
        if record is not None:
            ids, path = [trial.trial_id for trial in record.trials], record.path.resolve()
            place = ids.index(told["trial_id"]) if told["trial_id"] in ids else None
            winner = None if place is None else record.trials[place]
            told |= {
                "search": "/".join(path.parts[-2:]),  # the run folder and the project in it
                "trial": None if place is None else place + 1,  # as the page counts
                "oracle": record.oracle,
                "seed": record.seed,
                "trials": len(record.trials),
                "objective": record.objective,
                "score": None if winner is None else winner.score,
            }
        return told

    def _made(self, done: str) -> Path | None:
        beside = self.model if self.model.is_dir() else self.model.parent
        paths = (folder / f"{self.name}-{done}.keras" for folder in (self.folder, beside))
        return next((path for path in paths if path.exists()), None)

    def _with_model(self, path: Path) -> ImageClassifier:
        other = copy.copy(self.classifier)
        other.model_ = load_model(path)
        return other

    def forget_exported(self, stem: str, *, keep: str | None = None) -> None:
        """Remove the files made of the network of this name, but for `keep`, and the figures of all: it is to be replaced."""
        names = {name for name in _exported(stem) if (self.folder / name).is_file()}
        told = _read_if_there(self.folder / "verification.json")
        rows = [row for row in told.get("files", ()) if row["file"] not in names]
        if len(rows) < len(told.get("files", ())):
            self.write("verification.json", {**told, "files": rows})
        gone = sorted(names - {keep})
        for name in gone:
            remove_exported(self.folder / name)
        if gone:
            them = "it" if len(gone) == 1 else "them"
            click.echo(f"removed {', '.join(gone)}, made of the earlier {stem}: `kerasnas export` makes {them} anew")

    def forget_clustered(self) -> None:
        """Remove the clustered network, and what was made of it, if it came of a pruned one, which is replaced."""
        figures, stem = self.folder / self.figures("clustering"), f"{self.name}-clustered"
        if _read_if_there(figures).get("pruning"):
            self.forget_exported(stem)
            for path in (self.folder / f"{stem}.keras", figures):
                path.unlink(missing_ok=True)
            click.echo(f"removed {stem}.keras, made of the earlier {self.name}-pruned")

    def save_model(self, model: "keras.Model", name: str) -> Path:
        """Write `model` into the folder; what was exported of an earlier one goes."""
        self.forget_exported(Path(name).stem)
        with atomic_path(self.folder / name) as draft:
            model.save(draft)
        return self.folder / name

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file into the folder."""
        write_json(self.folder / name, content)


def _is_certificate(path: Path) -> bool:
    return path.is_file() and "kerasnas_certificate" in path.read_text(encoding="utf-8", errors="replace")


def _certified_weights(path: Path) -> str | None:
    """Return the digest of the weights of which an exported file was made; None if no certificate tells it."""
    try:
        return (Certificate.load(certificate_path(path)).model or {}).get("weights_sha256")
    except InvalidArgument:  # none, or a damaged one
        return None


def _is_run(folder: Path) -> bool:
    """Tell whether a classifier was saved there; the certificate of a classifier.onnx has the same name."""
    path = folder / "classifier.json"
    return path.is_file() and not _is_certificate(path)


def _figures(stem: str, what: str) -> str:
    return f"{what}.json" if stem == "model" else f"{stem}-{what}.json"


def _exported(stem: str) -> list[str]:
    """Name the files that `kerasnas export` makes of the network of this name: another's name may begin with it."""
    return [f"{stem}.onnx", f"{stem}-quantized.onnx", *(f"{stem}-{form}.tflite" for form in LITERT)]


def _steps(path: Path, stem: str, done: str) -> tuple[dict[str, Any], ...]:
    """Return what was done, in order, to make the network in `path` of the one of the name `stem`."""
    told = _read_if_there(path.with_name(_figures(stem, _MADE[done])))
    if done == "pruned":
        return ({"method": "prune", **told},)
    if done == "clustered":
        before = told.pop("pruning", None)
        return (*([before] if before else []), {"method": "cluster", **told})
    settings = told.get("settings")
    return ({"method": "prune_channels", **settings},) if settings else ()


def _read_if_there(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _classifier_of(path: Path, data: Dataset | None) -> ImageClassifier:
    classifier = ImageClassifier()
    classifier.model_ = load_model(path)
    if len(classifier.model_.inputs) != 1 or len(classifier.model_.outputs) != 1:
        raise InvalidArgument(f"Expected a model with one input and one output in {path}.")
    outputs = classifier.model_.output_shape[-1]
    classes = max(outputs, 2)
    classifier.classes_ = encode_labels(data.y_train)[0] if data is not None else np.arange(classes)
    if len(classifier.classes_) != classes:
        raise InvalidArgument(
            f"{path} has {outputs} outputs, but the data has {len(classifier.classes_)} classes: pass the data it was made for."
        )
    classifier.pixel_range_ = (0.0, 255.0) if data is None else pixel_range(data.x_train)
    classifier.best_hyperparameters_, classifier.epochs_, classifier.history_ = {}, 0, {}
    return classifier

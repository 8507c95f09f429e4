"""`kerasnas export`."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasnas.cli.backend_command import BackendCommand
from kerasnas.cli.export_rows import certified_rows, pixels, some
from kerasnas.cli.export_table import print_table
from kerasnas.cli.options import LITERT, data_option, image_size_option, model_argument, out_option

if TYPE_CHECKING:
    from kerasnas.cli.run_folder import Run, Variant
    from kerasnas.errors import KerasNASError
    from kerasnas.export.litert import Format
    from kerasnas.export.quantize import Goal

__all__ = ["Exported", "command", "export"]

_COMPARED = 64  # test pictures on which a file is compared with Keras
_CALIBRATED = 600  # training pictures of which half set the ranges of a quantised file, and half measure it
_GOALS = ("latency", "size", "accuracy")


@dataclass(frozen=True)
class Exported:
    """A file of a run.

    Attributes:
        variant: the network that it holds.
        file: what stands for its path: an `OnnxFile`, a `Quantization`, ...
        facts: what else its row says.
    """

    variant: "Variant"
    file: Any
    facts: dict[str, Any]

    @property
    def path(self) -> Path:
        """The file itself."""
        return Path(os.fspath(self.file))


@click.command(cls=BackendCommand, short_help="Write verified ONNX files and measure them.")
@model_argument
@data_option
@image_size_option
@click.option("--atol", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="Largest difference.")
@click.option("--opset", type=click.IntRange(13, 18), default=17, show_default=True, help="Version of ONNX's operators.")
@click.option("--slim", is_flag=True, help="Fold and merge what onnxslim can, before the file is compared.")
@click.option(
    "--quantize",
    type=click.Choice(_GOALS),
    is_flag=False,
    flag_value="latency",
    metavar=f"[{'|'.join(_GOALS)}]",
    help="Also write the best file of 8 or 16 bits for this goal, latency unless said otherwise, where one is better.",
)
@click.option(
    "--litert",
    multiple=True,
    type=click.Choice(LITERT),
    help="Also write a LiteRT (.tflite) file in this format; may be given several times. int8 and int16 need data.",
)
@click.option(
    "--train", is_flag=True, help="Train for 8 bits before the int8 LiteRT file is written, where rounding loses too much."
)
@out_option
def command(
    model: Path,
    data: str | None,
    image_size: Any,
    atol: float,
    opset: int,
    slim: bool,
    quantize: "Goal | None",
    litert: "tuple[Format, ...]",
    train: bool,
    out: Path | None,
) -> None:
    """Export MODEL, a run folder or a .keras file, to ONNX.

    Writes OUT/model.onnx, model-pruned.onnx and model-clustered.onnx where there are such models, with --quantize also
    NAME-quantized.onnx, with --litert also NAME-FORMAT.tflite, a certificate beside each (model.json; see `kerasnas verify`),
    and verification.json. A file that does not agree with its Keras model is not written. What `kerasnas compress` chose
    together with its format, model-compressed.onnx (or .tflite), is measured beside them.
    """
    from kerasnas.cli.run_folder import Run
    from kerasnas.errors import InvalidArgument

    if train and "int8" not in litert:
        raise InvalidArgument("Expected --train together with --litert int8, the file that it trains for. Pass both.")
    run = Run.open(model, data=data, image_size=image_size or None, out=out)
    rows = export(run, atol=atol, opset=opset, slim=slim, quantize=quantize, litert=litert, train=train)
    print_table(rows)
    if run.is_bare:
        click.echo(
            "The files say nothing of labels and pixel values, which no .keras file holds: pass --data, or the run folder"
        )
    for row in rows:
        click.echo(f"wrote {run.folder / row['file']} and its certificate {row['certificate']}")
    for name in run.outdated(rows):
        option = "--quantize" if name.endswith(".onnx") else f"--litert {Path(name).stem.rpartition('-')[2]}"
        other = f"{run.folder / name} was made of other weights than the network has now"
        click.echo(f"Warning: {other}. Remove it, or write it anew with {option}.", err=True)


def export(
    run: "Run",
    *,
    atol: float = 1e-4,
    opset: int = 17,
    slim: bool = False,
    quantize: "Goal | None" = None,
    litert: "Sequence[Format]" = (),
    train: bool = False,
) -> list[dict[str, Any]]:
    """Export the networks of `run`, and certify the files; return one row of figures for each file.

    Raises:
        ExportMismatch: if a file would not compute what its network does; the others are written and certified all the same.
        KerasNASError: if one cannot be made; likewise.
    """
    from kerasnas.errors import ExportMismatch, KerasNASError

    _spare(run)
    for variant in run.variants():
        _check_chosen(variant)
    if quantize is not None or any(format.startswith("int") for format in litert):
        _ = run.required_data  # before the work of exporting
    if train:
        _check_trainable(run)
    settings = {"atol": atol, "opset": opset, "slim": slim}
    exported, failures = _write(run, settings, quantize, list(dict.fromkeys(litert)), train)
    if failures and not exported:
        raise failures[0]
    rows, refused = certified_rows(run, exported)
    failures += refused
    run.write("verification.json", {"files": [*run.other_rows(rows, failed=bool(failures)), *rows]})
    if failures:
        written = ", ".join(str(row["file"]) for row in rows) or "nothing"
        kind = ExportMismatch if all(isinstance(error, ExportMismatch) for error in failures) else KerasNASError
        raise kind(f"{' '.join(map(str, failures))} What could be written and certified: {written}.")
    return rows


def _write(
    run: "Run", settings: dict[str, Any], quantize: "Goal | None", formats: "list[Format]", train: bool
) -> "tuple[list[Exported], list[KerasNASError]]":
    """Write the files; return them, and why others could not be made: what is written must not stay uncertified for them."""
    from kerasnas.errors import InvalidArgument, KerasNASError, MissingExtra

    exported: list[Exported] = []
    failures: list[KerasNASError] = []

    def attempt(make: "Callable[..., Exported | None]", *given: Any, **how: Any) -> Exported | None:
        try:
            one = make(run, *given, **how)
        except (InvalidArgument, MissingExtra):
            raise
        except KerasNASError as error:
            failures.append(error)
            return None
        if one is not None:
            exported.append(one)
        return one

    variants = run.variants()
    for variant in variants:
        plain = attempt(_made, variant) if variant.file else attempt(_to_onnx, variant, **settings)
        if plain is not None and quantize is not None:
            attempt(_quantize, plain, quantize)
    for variant in variants:
        for format in formats:
            attempt(_trained if train and format == "int8" else _to_litert, variant, format)
    return exported, failures


def _spare(run: "Run") -> None:
    """Refuse to write the float file of a compressed network over the file that was chosen for it."""
    from kerasnas.compression_search.results import read_result
    from kerasnas.errors import InvalidArgument

    for name in ("compression.json", f"{run.name.removesuffix('-compressed')}-compression.json"):
        told = read_result(run.folder, name)
        if told is not None and Path(told["path"]).stem == run.name and (run.folder / told["path"]).exists():
            raise InvalidArgument(
                f"Expected a folder without {told['path']}, the file that was chosen for this network, since its float file "
                f"would replace it, got {run.folder}. Pass another --out."
            )


def _check_trainable(run: "Run") -> None:
    """Refuse a network that cannot be trained for 8 bits before any file is written."""
    from kerasnas.compress.quantize_aware import trainable_twin

    for variant in run.variants():
        if not _is_clustered(variant):
            trainable_twin(variant.classifier.model_)


def _is_clustered(variant: "Variant") -> bool:
    return any(step["method"] == "cluster" for step in variant.compression)


def _check_chosen(variant: "Variant") -> None:
    """Refuse a file that is not the one that was chosen for a network."""
    import hashlib

    from kerasnas.errors import InvalidArgument

    if variant.file is None or variant.sha256 is None:
        return
    if not variant.file.is_file() or hashlib.sha256(variant.file.read_bytes()).hexdigest() != variant.sha256:
        raise InvalidArgument(
            f"Expected {variant.file} as `kerasnas compress` wrote it, but it was changed or replaced since. Compress again, "
            "or remove it."
        )


def _made(run: "Run", variant: "Variant") -> Exported:
    """Return the file that was chosen with its format, in the folder of the results."""
    from kerasnas.atomic import atomic_path
    from kerasnas.export.session import open_file

    file = variant.file
    assert file is not None
    target = run.folder / file.name
    if target.resolve() != file.resolve():
        with atomic_path(target) as draft:
            shutil.copyfile(file, draft)
    told = open_file(target).metadata.get("quantization")
    facts = {"format": json.loads(told)["format"]} if told else {}
    return Exported(variant, target, {**facts, **({"reason": variant.reason} if variant.reason else {})})


def _to_onnx(run: "Run", variant: "Variant", **settings: Any) -> Exported:
    from kerasnas.export import to_onnx

    path = run.folder / f"{variant.name}.onnx"
    if run.is_bare:
        return Exported(variant, to_onnx(variant.classifier.model_, path, **settings), {})
    samples = None if run.data is None else some(run.data.x_test, _COMPARED)
    return Exported(variant, variant.classifier.export(path, x=samples, **settings), {})


def _to_litert(run: "Run", variant: "Variant", format: "Format") -> Exported:
    from kerasnas.cli.run_folder import remove_exported
    from kerasnas.export import to_litert
    from kerasnas.image_data import to_codes

    path, data, classifier = run.folder / f"{variant.name}-{format}.tflite", run.data, variant.classifier
    remove_exported(path)  # one of an earlier model
    if data is None:
        return Exported(variant, to_litert(classifier.model_, path, format=format), {})
    settings: dict[str, Any] = {"format": format, "x": some(data.x_test, _COMPARED)}
    if format.startswith("int"):
        settings |= {"calibration": some(data.x_train, _CALIBRATED), "x": some(data.x_test, _CALIBRATED)}
        settings["y"] = to_codes(some(data.y_test, _CALIBRATED), classifier.classes_)
    file = classifier.export(path, **settings)
    return Exported(variant, file, {"format": format} if format.startswith("int") else {})


def _trained(run: "Run", variant: "Variant", format: "Format") -> Exported:
    """Write the int8 file of a network that was trained for it; a clustered one, whose values training would undo, as it is."""
    from kerasnas.cli.run_folder import remove_exported
    from kerasnas.compress import quantize_aware
    from kerasnas.image_data import to_codes

    if _is_clustered(variant):
        plain = _to_litert(run, variant, format)
        return Exported(variant, plain.file, {**plain.facts, "reason": "Not trained for 8 bits: that would undo its clusters."})
    path, data, classifier = run.folder / f"{variant.name}-{format}.tflite", run.required_data, variant.classifier
    remove_exported(path)  # one of an earlier model
    x_test, y_test = some(data.x_test, _CALIBRATED), some(data.y_test, _CALIBRATED)
    file = quantize_aware(
        classifier.model_,
        pixels(data.x_train),
        to_codes(data.y_train, classifier.classes_),
        path,
        validation_data=(pixels(x_test), to_codes(y_test, classifier.classes_)),
        preserve_sparsity=any(step["method"] == "prune" for step in variant.compression),
        seed=0,
        **classifier.export_facts(),
    )
    return Exported(variant, file, {"format": format, "reason": f"Trained for 8 bits on {len(data.x_train)} pictures."})


def _quantize(run: "Run", plain: Exported, goal: "Goal") -> Exported | None:
    """Return the best file of fewer bits, or None, and say why, where the float file is better."""
    from kerasnas.cli.run_folder import remove_exported
    from kerasnas.export import quantize
    from kerasnas.image_data import to_codes

    data, classifier = run.required_data, plain.variant.classifier
    if plain.variant.file is not None:
        return None
    x, y = some(data.x_train, _CALIBRATED), some(data.y_train, _CALIBRATED)
    path = run.folder / f"{plain.variant.name}-quantized.onnx"
    remove_exported(path)  # one of an earlier goal
    result = quantize(plain.file, pixels(x), y=to_codes(y, classifier.classes_), goal=goal, path=path)
    if result.chosen.name == "float32":
        plain.facts["reason"] = f"Not quantised: {result.reason}"
        return None
    return Exported(plain.variant, result, {"format": result.chosen.name, "goal": goal, "reason": result.reason})

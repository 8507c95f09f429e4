"""What is known of an exported file, as a file beside it: a frozen record that can be checked anywhere."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kerasnas.atomic import write_text
from kerasnas.errors import InvalidArgument, KerasNASError
from kerasnas.export.certificate_check import CertificateCheck, Finding
from kerasnas.export.certificate_schema import VERSION, check_certificate
from kerasnas.export.certificate_text import certificate_text
from kerasnas.export.runner import format_of
from kerasnas.export.self_test import self_test_difference

__all__ = ["Certificate", "certificate_path", "check_replaceable", "tensor_rows"]


def certificate_path(file: str | os.PathLike[str]) -> Path:
    """Return where the certificate of a file lies: NAME.json for NAME.onnx, NAME.END.json for other formats."""
    path = Path(os.fspath(file))
    return path.with_suffix(".json") if path.suffix == ".onnx" else path.with_name(f"{path.name}.json")


@dataclass(frozen=True)
class Certificate:
    """What was certified of an exported file; export/CERTIFICATE.md describes each key.

    Attributes:
        created: time in UTC, ISO 8601.
        file: name, format, SHA-256, bytes, bytes after gzip, opset.
        model: name, parameters and SHA-256 of the weights of the Keras model; None if it was not there.
        inputs: name, shape (None for a free dimension) and dtype of each input.
        outputs: likewise.
        labels: names of the classes in the order of the output's columns, or None.
        preprocessing: what goes in, as `to_onnx` was told, or None.
        parity: how far the file is from the Keras model, and by which criterion that is well; None without the model.
        accuracy: share of the samples that the file, and the Keras model, give the right class, and of a compressed file
            what the original did; None without labels.
        latency: of one call on this machine, or None.
        compression: what was done to make the model or the file smaller, in order.
        provenance: where the model comes from, or None.
        self_test: fixed samples and what the file gave for them.
        versions: of the packages of the process that certified the file.
        machine: the processor that it was measured on, and what ran it.
        measured: place of a figure in this record -> how it was measured.
    """

    created: str
    file: Mapping[str, Any]
    model: Mapping[str, Any] | None
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    labels: tuple[str, ...] | None
    preprocessing: Any
    parity: Mapping[str, Any] | None
    accuracy: Mapping[str, Any] | None
    latency: Mapping[str, Any] | None
    compression: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, Any] | None
    self_test: Mapping[str, Any]
    versions: Mapping[str, str | None]
    machine: Mapping[str, Any]
    measured: Mapping[str, str]

    @classmethod
    def from_dict(cls, content: Any, *, where: str = "this certificate") -> "Certificate":
        """Return the record of what `to_dict` gave; keys that this version does not know are left out.

        Raises:
            InvalidArgument: if a key is missing or its value of the wrong type, or the version is another; names the place.
        """
        check_certificate(content, where)
        values = {field.name: content[field.name] for field in fields(cls)}
        lists = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**{**lists, "preprocessing": values["preprocessing"]})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Certificate":
        """Read a certificate.

        Raises:
            InvalidArgument: if there is none at `path`, or it is damaged, of another version, or not whole.
        """
        path = Path(os.fspath(path))
        if not path.is_file():
            raise InvalidArgument(
                f"Expected a certificate at {path}, found none. `kerasnas export` and kerasnas.export.certify write one."
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        except ValueError as error:  # JSON and UTF-8 alike
            raise InvalidArgument(f"{path} is no whole certificate: {error}. Certify the file again.") from error
        return cls.from_dict(content, where=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"kerasnas_certificate": VERSION, **json.loads(json.dumps(values, default=dict))}

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the record as JSON, whole or not at all.

        Raises:
            InvalidArgument: if another file than a certificate lies there: it is not overwritten.
        """
        path = Path(os.fspath(path))
        content = self.to_dict()
        check_certificate(content, "this certificate")
        check_replaceable(path)
        write_text(path, _lines(content))
        return path

    def check(self, path: str | os.PathLike[str]) -> CertificateCheck:
        """Is the file at `path` the certified one, and does it give here what it gave there?

        Four findings: the SHA-256 of the file; whether this machine's runtime loads it; names, shapes and dtypes of its inputs
        and outputs; its outputs for the fixed samples, which may differ by `self_test["atol"]`. Keras is not needed.

        Args:
            path: the exported file.

        Returns:
            CertificateCheck, which is `passed` if all four hold.

        Raises:
            InvalidArgument: if there is no file at `path`, or of no format that can be run here.
        """
        path = Path(os.fspath(path))
        kind = format_of(path)
        if not path.is_file():
            raise InvalidArgument(f"Expected a file at {path}, found none. Pass the file that lies beside the certificate.")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        same = digest == self.file["sha256"]
        known = f"SHA-256 {digest[:16]}..." + ("" if same else f", certified was {self.file['sha256'][:16]}...")
        findings = [Finding("file", same, known)]
        try:
            runner = kind.open(path)
        except KerasNASError as error:
            return CertificateCheck(path, (*findings, Finding("loads", False, str(error))))
        findings.append(Finding("loads", True, runner.runtime))
        pairs = (
            ("inputs", tensor_rows(runner.inputs, runner.stored[0]), self.inputs),
            ("outputs", tensor_rows(runner.output_specs, runner.stored[1]), self.outputs),
        )
        other = [f"{title}: {came}, certified were {list(was)}" for title, came, was in pairs if came != list(was)]
        findings.append(Finding("tensors", not other, "; ".join(other) or "names, shapes and dtypes as certified"))
        try:
            difference = self_test_difference(runner, self.self_test)
        except KerasNASError as error:
            return CertificateCheck(path, (*findings, Finding("outputs", False, str(error))))
        text = (
            f"largest difference {difference:.2g}, at most {self.self_test['atol']:.2g} allowed, "
            f"for {self.self_test['samples']} fixed samples"
        )
        findings.append(Finding("outputs", difference <= self.self_test["atol"], text))
        return CertificateCheck(path, tuple(findings))

    def __str__(self) -> str:
        return certificate_text(self)


def check_replaceable(path: Path) -> None:
    """Raise InvalidArgument if another file than a certificate lies at `path`."""
    if path.is_file() and '"kerasnas_certificate"' not in path.read_text(encoding="utf-8", errors="replace"):
        raise InvalidArgument(f"{path} is no certificate, and is not overwritten. Give the exported file another name.")


def tensor_rows(specs: Any, stored: Any) -> list[dict[str, Any]]:
    """Return names, shapes and dtypes of the file itself as plain values; `real_dtype`, too, where integers stand for reals."""
    return [
        {"name": name, "shape": list(shape), "dtype": dtype, **held, **({"real_dtype": dtype} if held else {})}
        for (name, shape, dtype), held in zip(specs, stored, strict=True)
    ]


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _lines(content: dict[str, Any]) -> str:
    """Return indented JSON with each list of plain values on one line."""
    text = json.dumps(content, indent=2, allow_nan=False)
    # A text in JSON holds no line end, so that nothing within one is found here.
    return re.sub(r"\[\n *([^\[\]{}]*?)\n *\]", lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", text) + "\n"

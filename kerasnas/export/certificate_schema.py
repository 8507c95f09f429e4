"""What a certificate must hold, and a check that names what is wrong."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerasnas.errors import InvalidArgument

__all__ = ["VERSION", "check_certificate"]

VERSION = 1


@dataclass(frozen=True)
class Maybe:
    """Null, or what `kind` says."""

    kind: Any


@dataclass(frozen=True)
class Named:
    """An object of any keys whose values are what `kind` says."""

    kind: Any


@dataclass(frozen=True)
class Perhaps:
    """Of a key that may be missing: what `kind` says where it is there."""

    kind: Any


# A kind is: a word of _WORDS, a list of one kind, an object with the keys that must be there (others may be),
# Maybe, Named or Perhaps.
_TENSOR = {"name": "text", "shape": [Maybe("count")], "dtype": "text"}
_SCHEMA: dict[str, Any] = {
    "kerasnas_certificate": "count",
    "created": "text",
    "file": {"name": "text", "format": "text", "sha256": "sha256", "size_bytes": "count", "gzip_bytes": "count"},
    "model": Maybe({"name": "text", "parameters": "count", "weights_sha256": "sha256"}),
    "inputs": [_TENSOR],
    "outputs": [_TENSOR],
    "labels": Maybe(["text"]),
    "preprocessing": "anything",
    "parity": Maybe(
        {
            "passed": "flag",
            "criterion": "text",
            "max_abs_difference": Named(Maybe("number")),
            "top1_agreement": Named("number"),
            "atol": Maybe("number"),
            "bounds": Perhaps(Named("number")),
            "batch_sizes": ["count"],
            "n_samples": "count",
            "data": "text",
        }
    ),
    "accuracy": Maybe({"file": "number", "model": Maybe("number"), "samples": "count", "original": Perhaps("number")}),
    "latency": Maybe(
        {
            "median_ms": "number",
            "p90_ms": "number",
            "batch_size": "count",
            "repeats": "count",
            "threads": "count",
            "shapes": Perhaps(Named(["count"])),
        }
    ),
    "compression": [{"method": "text"}],
    "provenance": Maybe(Named("anything")),
    "self_test": {
        "seed": "count",
        "samples": "count",
        "batch_size": "count",
        "range": ["number"],
        "atol": "number",
        "outputs": Named({"shape": ["count"], "places": ["count"], "values": ["number"], "mean": "number"}),
    },
    "versions": Named(Maybe("text")),
    "machine": {"cpu": "text", "architecture": "text", "system": "text", "instructions": ["text"], "runtime": "text"},
    "measured": Named("text"),
}

_WORDS = {
    "text": ("a text", lambda v: isinstance(v, str)),
    "flag": ("true or false", lambda v: isinstance(v, bool)),
    "count": ("a whole number >= 0", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0),
    "number": (
        "a finite number",
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= sys.float_info.max,
    ),
    "sha256": ("64 hexadecimal digits", lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v) is not None),
    "anything": ("anything", lambda _: True),
}


def check_certificate(content: Any, where: str) -> None:
    """Raise InvalidArgument, with the place and what stands there, unless `content` is a certificate of this version.

    Args:
        content: what JSON gave.
        where: what the message calls it.
    """
    if not isinstance(content, Mapping) or "kerasnas_certificate" not in content:
        raise InvalidArgument(
            f"Expected a certificate of kerasnas, which has the key 'kerasnas_certificate', but {where} has none. "
            "Pass the file that `certify` or `kerasnas export` wrote beside the exported one."
        )
    if content["kerasnas_certificate"] != VERSION:
        raise InvalidArgument(
            f"Expected a certificate of version {VERSION}, but {where} is of version {content['kerasnas_certificate']!r}. "
            "Read it with the kerasnas that wrote it, or certify the file again."
        )
    problem = _problem(_SCHEMA, content, "") or _disagreement(content)
    if problem:
        raise InvalidArgument(f"{where} is no whole certificate: {problem}. Certify the file again.")


def _problem(kind: Any, value: Any, place: str) -> str | None:
    """Return what is wrong at or below `place`, or None."""
    at = place or "the certificate"
    if isinstance(kind, Maybe):
        return None if value is None else _problem(kind.kind, value, place)
    if isinstance(kind, str):
        expected, holds = _WORDS[kind]
        return None if holds(value) else f"expected {expected} at {at}, got {value!r:.60}"
    if isinstance(kind, list):
        if not isinstance(value, list):
            return f"expected a list at {at}, got {value!r:.60}"
        parts = [(kind[0], item, f"{place}[{i}]") for i, item in enumerate(value)]
    elif not isinstance(value, Mapping):
        return f"expected an object at {at}, got {value!r:.60}"
    elif isinstance(kind, Named):
        parts = [(kind.kind, item, f"{place}.{key}") for key, item in value.items()]
    else:
        missing = [key for key in kind if key not in value and not isinstance(kind[key], Perhaps)]
        if missing:
            return f"{at} lacks {', '.join(map(repr, missing))}"
        known = {key: inner.kind if isinstance(inner, Perhaps) else inner for key, inner in kind.items() if key in value}
        parts = [(inner, value[key], f"{place}.{key}".lstrip(".")) for key, inner in known.items()]
    return next((found for part in parts if (found := _problem(*part))), None)


def _disagreement(content: Mapping[str, Any]) -> str | None:
    """Return what does not fit together in a certificate of the right types, or None."""
    parity = content["parity"]
    if parity is not None and all(one is None for one in parity["max_abs_difference"].values()):
        return f"expected a number at parity.max_abs_difference, got {parity['max_abs_difference']!r:.60}"
    test = content["self_test"]
    if len(test["range"]) != 2 or test["range"][0] > test["range"][1]:
        return f"expected [lowest, highest] at self_test.range, got {test['range']!r:.60}"
    if test["batch_size"] < 1 or test["samples"] < 1 or test["samples"] % test["batch_size"]:
        return f"expected whole batches at self_test.samples, got {test['samples']} in batches of {test['batch_size']}"
    if not test["outputs"]:
        return "self_test.outputs is empty"
    for name, output in test["outputs"].items():
        if len(output["places"]) != len(output["values"]):
            return f"expected as many places as values at self_test.outputs.{name}"
        if any(place >= math.prod(output["shape"]) for place in output["places"]):
            return f"expected places within the shape at self_test.outputs.{name}"
    return None

"""What a LiteRT file says of itself: a zip archive behind the model, which LiteRT does not look at.

That is where TFLite Metadata keeps a model's label file, too (https://ai.google.dev/edge/litert/models/metadata), so
`unzip model.tflite` shows it. The typed table of TFLite Metadata is left out: the package that writes it, tflite-support,
has had no release since 2023 and none for Python 3.11.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["append_facts", "read_facts"]

_NAME = "kerasnas.json"
_LABELS = "labels.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes on any day


def append_facts(path: Path, facts: Mapping[str, Any], labels: Sequence[str] | None) -> None:
    """Append facts as kerasnas.json, and labels as labels.txt, one a line in the order of the columns."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_NAME, _EPOCH), json.dumps({**facts, "labels": labels}, ensure_ascii=False))
        if labels is not None and not any("\n" in label for label in labels):
            archive.writestr(zipfile.ZipInfo(_LABELS, _EPOCH), "".join(f"{label}\n" for label in labels))


def read_facts(path: Path) -> dict[str, Any]:
    """Return what `append_facts` wrote; an empty dict where it wrote nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(archive.read(_NAME))
    except (zipfile.BadZipFile, KeyError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}

"""A file in another format, with all that the float file tells of itself."""

import json
from pathlib import Path
from typing import Any

from kerasnas.atomic import atomic_path
from kerasnas.export.session import Session, open_session

__all__ = ["write_quantized_file"]


def write_quantized_file(made: Path, target: Path, session: Session, facts: dict[str, Any]) -> None:
    """Write `made` to its place, with the metadata of the float file and `quantization` added to it.

    Args:
        made: the file as `write_quantized` left it.
        target: where it goes.
        session: the float file, opened.
        facts: of its format, for JSON; the version of onnxruntime is added.
    """
    import onnx

    proto = onnx.load(made)
    plain = onnx.load(session.path, load_external_data=False)
    proto.producer_name, proto.producer_version = plain.producer_name, plain.producer_version
    proto.graph.name = plain.graph.name
    facts = {**facts, "onnxruntime_version": session.onnxruntime_version}
    onnx.helper.set_model_props(proto, {**session.metadata, "quantization": json.dumps(facts)})
    with atomic_path(target) as draft:
        draft.write_bytes(proto.SerializeToString())
        open_session(draft)

"""LiteRT (formerly TensorFlow Lite) files: how they are made from a SavedModel, opened and run; no model is judged here."""

from kerasnas.litert.convert import LITERT_FORMATS, convert_saved_model
from kerasnas.litert.facts import append_facts, read_facts
from kerasnas.litert.operators import makers, operators
from kerasnas.litert.session import LiteRTSession, open_litert

__all__ = [
    "LITERT_FORMATS",
    "LiteRTSession",
    "append_facts",
    "convert_saved_model",
    "makers",
    "open_litert",
    "operators",
    "read_facts",
]

#!/usr/bin/env python3
"""Classify pictures with an ONNX or LiteRT file that kerasnas has written.

    python classify.py model.onnx photo.jpg more/             # labels and probabilities
    python classify.py model.onnx camera/ --watch             # each new picture, as the camera drops it
    python classify.py model.onnx photo.jpg --occlusion maps  # and a picture of what the label rests on
    python classify.py model.onnx                             # what the file says of itself
    python classify.py model.onnx --verify                    # does it compute here what its certificate, model.json, says?

This one file is the whole program. It needs numpy, onnxruntime and Pillow: no TensorFlow, no Keras, no kerasnas; for LiteRT
files (.tflite) also ai-edge-litert, or tflite-runtime.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import math
import os
import re
import signal
import statistics
import sys
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

INSTALL = "python3 -m pip install numpy onnxruntime pillow"
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
MAP_SUFFIX = ".occlusion.png"  # such files are never taken for new pictures

missing: ImportError | None = None
try:
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageOps, UnidentifiedImageError
except ImportError as error:  # said in main, so that --help works without them
    missing = error


class Problem(Exception):
    """One line for the user; the program cannot go on."""


class Unreadable(Problem):
    """One line for the user about one picture; the others can go on."""


class CannotCheck(Problem):
    """One line for the user about a file that may be as certified, but that this program or machine is not for."""


# The file


def fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a protobuf message: a view where the field has a length, else an integer."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 5: 4}.get(key & 7) or (varint() if key & 7 == 2 else len(message))
        if at + length > len(message):
            raise ValueError("the message is cut off")
        yield key >> 3, message[at : at + length]
        at += length


# What an answer may pass through on its way out of a Softmax or Sigmoid: quantised files, means of several networks or places.
PASSING = {"Add", "AveragePool", "Cast", "Concat", "DequantizeLinear", "Div", "Flatten", "GlobalAveragePool", "Identity"}
PASSING |= {"Mean", "Mul", "QuantizeLinear", "ReduceMean", "ReduceSum", "Reshape", "Squeeze", "Sum", "Transpose", "Unsqueeze"}


# What leaves rounded answers as far apart as they were.
RESHAPING = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def graph_parts(model: bytes) -> tuple[bytes, dict[bytes, tuple[str, list[bytes]]], dict[bytes, float]]:
    """Return the output of an ONNX file, what makes each value and from what, and the constants that are one float."""
    (graph,) = (value for number, value in fields(memoryview(model)) if number == 7)  # ModelProto.graph
    makers: dict[bytes, tuple[str, list[bytes]]] = {}
    ends: list[bytes] = []
    constants: dict[bytes, float] = {}
    for number, value in fields(graph):
        if number == 1:  # GraphProto.node
            node = [(part, bytes(text)) for part, text in fields(value) if part in (1, 2, 4)]  # input, output, op_type
            operator = "".join(text.decode() for part, text in node if part == 4)
            makers.update({text: (operator, [t for p, t in node if p == 1]) for part, text in node if part == 2})
        elif number == 5:  # GraphProto.initializer
            tensor = dict(fields(value))
            content = tensor.get(9, tensor.get(4, b""))  # TensorProto.raw_data, float_data
            if tensor.get(2) == 1 and len(content) == 4:  # a float
                constants[bytes(tensor[8])] = float(np.frombuffer(content, "<f4")[0])
        elif number == 12:  # GraphProto.output, ValueInfoProto.name
            ends += [bytes(text) for part, text in fields(value) if part == 1]
    return ends[0], makers, constants


def rounding(model: bytes) -> float:
    """Return how far the answers of an ONNX file lie apart at least: the scale of its last DequantizeLinear; else 0."""
    name, makers, constants = graph_parts(model)
    operator, inputs = makers.get(name, ("", []))
    while operator in RESHAPING:
        operator, inputs = makers.get(inputs[0], ("", []))
    return constants.get(inputs[1], 0.0) if operator == "DequantizeLinear" else 0.0


def ending(model: bytes) -> str:
    """Return what the answers of an ONNX file are: "softmax" or "sigmoid", which are probabilities, or "scores"."""
    end, makers, _ = graph_parts(model)
    ends = [end]
    entries = [dict(fields(value)) for number, value in fields(memoryview(model)) if number == 14]  # ModelProto.metadata_props
    told = {bytes(entry.get(1, b"")): bytes(entry.get(2, b"")) for entry in entries}
    if told.get(b"threshold") == b"0.5" or told.get(b"ending") == b'"sigmoid"':
        return "sigmoid"  # a hard one, perhaps, which stands in the file in pieces
    found, seen = set(), set()
    while ends:
        name = ends.pop()
        if name in seen or name not in makers:  # what no node makes is a constant
            continue
        seen.add(name)
        operator, inputs = makers[name]
        if operator in PASSING:
            ends += inputs
        elif operator != "Constant":
            found.add(operator)
    return "softmax" if found == {"Softmax"} else "sigmoid" if found and found <= {"Sigmoid", "HardSigmoid"} else "scores"


def black_and_white(low: float, high: float) -> tuple[float, float]:
    """Return what 0 and 255 of a picture become, from the lowest and highest value that the model was trained on."""
    if low >= 0 and 127 < high <= 255:
        return 0.0, 255.0
    if low >= -1 and high <= 1:
        return (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return low, high


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep off the error stream what LiteRT says of its delegates."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class LiteRT:
    """A LiteRT file, asked as onnxruntime asks an ONNX file; `stored` and `reals` turn real numbers into its own and back."""

    def __init__(self, path: Path, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            try:
                from tflite_runtime.interpreter import Interpreter
            except ImportError as error:
                said = f"{path}: a LiteRT file; needs ai-edge-litert: python3 -m pip install ai-edge-litert"
                raise CannotCheck(said) from error
        try:
            with quiet():
                self.interpreter = Interpreter(model_path=str(path), num_threads=threads or os.cpu_count())
                self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise Problem(f"{path}: not a LiteRT file that can be run here: {error}") from error
        self.given, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        if len(outputs) != 1:
            raise Problem(f"{path}: expected one output of shape (batch, classes), got {len(outputs)}: no classifier")
        (self.taken,) = outputs
        self.shape = tuple(self.given[0]["shape"])
        try:  # the archive that kerasnas puts behind the model
            facts = json.loads(zipfile.ZipFile(path).read("kerasnas.json"))
        except (zipfile.BadZipFile, KeyError, ValueError):
            facts = {}
        facts = {"quantization": {"format": facts.get("format", "float32")}, **facts}
        self.custom_metadata_map = {name: one if isinstance(one, str) else json.dumps(one) for name, one in facts.items()}
        # LiteRT gives these scales to a softmax or sigmoid of 8 and of 16 bits.
        is_share = facts.get("threshold") == 0.5 or self.taken["quantization"][0] in (1 / 256, 1 / 32768)
        is_sigmoid = facts.get("ending") == "sigmoid" or (is_share and self.taken["shape"][-1] == 1)
        self.ending = "sigmoid" if is_sigmoid else "softmax" if is_share else "scores"

    def get_inputs(self) -> list[SimpleNamespace]:
        """Return name, shape (a text for what is free) and type of each input."""
        kinds = ["float32" if one["quantization"][0] else np.dtype(one["dtype"]).name for one in self.given]
        shapes = [["free" if length < 0 else int(length) for length in one["shape_signature"]] for one in self.given]
        names = [one["name"] for one in self.given]
        return [SimpleNamespace(name=n, shape=s, type=k) for n, s, k in zip(names, shapes, kinds, strict=True)]

    def get_modelmeta(self) -> "LiteRT":
        """Return what has `custom_metadata_map`."""
        return self

    def stored(self, pixels: "np.ndarray") -> "np.ndarray":
        """Return a batch as the file holds it, and make room for it."""
        (scale, zero), dtype = self.given[0]["quantization"], self.given[0]["dtype"]
        if scale:
            limits = np.iinfo(dtype)
            pixels = np.clip(np.round(pixels / np.float32(scale)) + zero, limits.min, limits.max)
        if self.shape != pixels.shape:
            with quiet():
                self.interpreter.resize_tensor_input(self.given[0]["index"], pixels.shape)
                self.interpreter.allocate_tensors()
            self.shape = pixels.shape
        return pixels.astype(dtype)

    def run(self, _: None, arrays: dict[str, "np.ndarray"]) -> list["np.ndarray"]:
        """Return the answers, as the file holds them, to a batch that `stored` gave."""
        (pixels,) = arrays.values()
        self.interpreter.set_tensor(self.given[0]["index"], pixels)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(self.taken["index"])]

    def reals(self, answers: "np.ndarray") -> "np.ndarray":
        """Return answers that `run` gave in real numbers."""
        scale, zero = self.taken["quantization"]
        return (answers.astype(np.float32) - zero) * np.float32(scale) if scale else answers


class Classifier:
    """An ONNX or LiteRT classifier of pictures with what its file says of labels and pixel values."""

    def __init__(self, path: Path, pixel_range: tuple[float, float] | None = None, threads: int = 0) -> None:
        self.path = path
        self.notes: list[str] = []  # what the user should know, one line each
        self.latency_ms = math.nan  # of the last batch, of the network alone
        content = read_model(path)
        if content[4:8] == b"TFL3":
            self.session = LiteRT(path, threads)
            self.ending, self.step = self.session.ending, float(self.session.taken["quantization"][0])
        else:
            self._open_onnx(content, threads)
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self._read_input()
        self.black, self.white = pixel_range or self._range()
        blank = np.zeros((1, self.height or 224, self.width or 224, self.channels), np.float32)
        answers = np.concatenate([self.run(blank + self.black), self.run(blank + self.white)])  # a warm-up, too
        looks_like_it = answers.min() >= 0 and np.allclose(answers.sum(axis=1), 1, atol=1e-3 + answers.shape[1] * self.step / 2)
        if self.ending == "scores" and looks_like_it and answers.shape[1] > 1:
            self.ending = "softmax"
        self.labels = self._labels(answers.shape[1])

    def _open_onnx(self, content: bytes, threads: int) -> None:
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the exceptions of onnxruntime have no common class
            version = onnxruntime.__version__
            raise Problem(f"{self.path}: not an ONNX file that onnxruntime {version} can run: {error}") from error
        try:
            self.ending, self.step = ending(content), rounding(content)
        except (ValueError, IndexError):  # a graph that is not in protobuf
            self.ending, self.step = "scores", 0.0

    def _read_input(self) -> None:
        inputs = self.session.get_inputs()
        shape = list(inputs[0].shape)
        self.is_flat = len(shape) == 3  # without an axis for channels
        if self.is_flat:
            shape.append(1)
        said = f"{self.path}: expected one input of shape (batch, height, width, channels) with 1 or 3 channels"
        if len(inputs) != 1 or len(shape) != 4 or shape[3] not in (1, 3):
            raise CannotCheck(f"{said}, got {', '.join(f'{one.name} {one.shape}' for one in inputs)}")
        kinds = {"float": "float32", "double": "float64"}
        kind = inputs[0].type.removeprefix("tensor(").removesuffix(")")
        self.dtype = np.dtype(kinds.get(kind, kind))
        self.batch, self.height, self.width = (one if isinstance(one, int) else None for one in shape[:3])
        if self.batch not in (None, 1):
            raise CannotCheck(f"{said} and any batch, got a file for batches of {self.batch} only")
        self.channels, self.name = shape[3], inputs[0].name

    def _json(self, key: str) -> Any:
        try:
            return json.loads(self.metadata.get(key, "null"))
        except ValueError:
            self.notes.append(f"the file's {key} are not JSON and are left out")
            return None

    def _range(self) -> tuple[float, float]:
        facts = self._json("preprocessing")
        said = facts.get("range") if isinstance(facts, dict) else None
        if isinstance(said, list) and len(said) == 2 and all(isinstance(one, int | float) for one in said):
            return black_and_white(*said)
        self.notes.append("the file does not say which pixel values it takes: 0 to 255 it is, unless you say --range 0 1")
        return 0.0, 255.0

    def _labels(self, columns: int) -> list[str]:
        said = self._json("labels")
        said = said if isinstance(said, list) else []
        if columns == 1:  # one sigmoid unit tells two classes apart, by the name of the second, or by both
            said = [f"not {said[0]}", *said] if len(said) == 1 else said or ["0", "1"]
        classes = max(2, columns)
        if len(said) != classes:
            if said:
                self.notes.append(f"the file has {len(said)} labels for {classes} classes; they are numbered instead")
            said = range(classes)
        names = [str(one) for one in said]
        return names if len(set(names)) == len(names) else [f"{name} ({column})" for column, name in enumerate(names)]

    def describe(self) -> dict[str, Any]:
        """Return what there is to know about the file."""
        quantization = self._json("quantization") or {}
        return {
            "model": self.metadata.get("model_name", self.path.stem),
            "file": str(self.path),
            "size_bytes": self.path.stat().st_size,
            "input": f"{self.height or 'any'} x {self.width or 'any'}, {'grey' if self.channels == 1 else 'colour'}",
            "black_and_white": [self.black, self.white],
            "answers": self.ending,
            "format": quantization.get("format", "float32") if isinstance(quantization, dict) else "float32",
            "labels": self.labels,
            "kerasnas_version": self.metadata.get("kerasnas_version"),
        }

    def fit(self, picture: "Image.Image") -> "Image.Image":
        """Return the picture, stretched to the size that the model takes, as `kerasnas` does it for training.

        First across, then down: in one step Pillow's order differs from version to version, and a pixel by 1.
        """
        across = picture.resize((self.width or picture.width, picture.height), Image.Resampling.BILINEAR)
        return across.resize((across.width, self.height or picture.height), Image.Resampling.BILINEAR)

    def tensor(self, picture: "Image.Image") -> "np.ndarray":
        """Return the pixels as the model takes them, shape (1, height, width, channels), float32."""
        pixels = np.asarray(self.fit(picture), np.float32).reshape(1, self.height or picture.height, -1, self.channels)
        return pixels * np.float32((self.white - self.black) / 255) + np.float32(self.black)

    def run(self, pixels: "np.ndarray") -> "np.ndarray":
        """Return the answers of the file, shape (batch, columns)."""
        pixels = pixels[..., 0] if self.is_flat else pixels
        pixels = np.rint(pixels).astype(self.dtype) if self.dtype.kind in "iu" else pixels.astype(self.dtype)
        litert = self.session if isinstance(self.session, LiteRT) else None
        try:
            given = {self.name: litert.stored(pixels) if litert else pixels}
            start = time.perf_counter()
            answers = self.session.run(None, given)[0]
            self.latency_ms = 1000 * (time.perf_counter() - start)
            answers = np.asarray(litert.reals(answers) if litert else answers, np.float64)
        except Exception as error:  # the exceptions of onnxruntime have no common class
            raise Unreadable(f"{self.path}: does not take a picture of {pixels.shape[1:]}: {error}") from error
        if answers.ndim != 2:
            raise CannotCheck(f"{self.path}: expected answers of shape (batch, classes), got {answers.shape}: no classifier")
        return answers

    def probabilities(self, answers: "np.ndarray") -> "np.ndarray":
        """Return probabilities of shape (batch, classes) from the answers of the file."""
        if answers.shape[1] == 1:
            p = answers if self.ending == "sigmoid" else np.exp(-np.logaddexp(0, -answers))
            return np.concatenate([1 - p, p], axis=1)
        if self.ending != "scores":
            return answers
        weights = np.exp(answers - answers.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def evidence(self, pixels: "np.ndarray", column: int) -> "np.ndarray":
        """Return the score of a class before the softmax, or the log-odds of its probability; shape (batch,).

        A probability that is nearer to 0 or 1 than half a step of a file that rounds its answers is taken to be that far.
        """
        answers = self.run(pixels)
        sign = -1 if answers.shape[1] == 1 and column == 0 else 1
        mine = answers[:, 0] if answers.shape[1] == 1 else answers[:, column]
        if self.ending == "scores":
            return sign * mine
        if self.ending == "sigmoid":  # each column is a probability of its own
            least = max(1e-7, self.step / 2)
            mine = np.clip(mine, least, 1 - least)
            return sign * (np.log(mine) - np.log1p(-mine))
        # The sum of the others keeps what 1 - p would round away.
        answers = np.maximum(answers, max(1e-30, self.step / 2))
        return np.log(answers[:, column]) - np.log(np.delete(answers, column, axis=1).sum(axis=1))


def read_model(path: Path) -> bytes:
    """Return the content of the file, or say what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; expected an ONNX file") from error
    if content[:2] == b"PK":
        raise Problem(f"{path}: not an ONNX file but an archive, as .keras files are: kerasnas export {path}")
    if not content:
        raise Problem(f"{path}: empty; expected an ONNX file")
    return content


# Its certificate


def verify(path: Path, threads: int) -> int:
    """Compare the file, and what it gives here for the fixed samples, with the certificate beside it; return 1 if they differ.

    That a file of the right bytes cannot be run here for want of something else says nothing about it: `CannotCheck`.
    Certificates and samples are described in kerasnas' export/CERTIFICATE.md.
    """
    place = path.with_suffix(".json") if path.suffix == ".onnx" else path.with_name(f"{path.name}.json")
    sha256, test, told = read_certificate(place, path)
    rows, size, (low, high) = test["samples"], test["batch_size"], test["range"]
    places, values, mean, atol = np.asarray(told["places"], int), np.asarray(told["values"]), told["mean"], test["atol"]
    digest = hashlib.sha256(read_model(path)).hexdigest()
    found = [(digest == sha256, f"file     SHA-256 {digest[:16]}..., certified was {sha256[:16]}...")]
    try:
        classifier = Classifier(path, threads=threads)
    except Problem as problem:
        if isinstance(problem, CannotCheck) and digest == sha256:
            raise
        return say(path, [*found, (False, f"loads    {problem}")])
    pixels = fixed_samples((rows, classifier.height or 32, classifier.width or 32, classifier.channels), test["seed"])
    if classifier.dtype.kind in "iu":
        lowest = math.ceil(low)
        pixels = lowest + np.floor(pixels * (max(lowest, math.floor(high)) - lowest + 1))
    else:
        pixels = low + (high - low) * pixels
    answers = np.concatenate([classifier.run(pixels[start : start + size]) for start in range(0, rows, size)])
    if list(answers.shape) == told["shape"]:
        differences = [*np.abs(answers.reshape(-1)[places] - values), abs(float(answers.mean()) - mean)]
        worst = float(np.max(differences))  # which is NaN if one is
        text = f"outputs  largest difference {worst:.2g}, at most {atol:.2g} allowed, for {rows} fixed samples"
        found.append((worst <= atol, text))
    else:
        found.append((False, f"outputs  expected shape {told['shape']}, got {list(answers.shape)}"))
    return say(path, found)


def read_certificate(place: Path, path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the SHA-256 of a certificate, its self-test and what that gave for the one output; each as it has to be."""
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        sha256, test, (told,) = known["file"]["sha256"], known["self_test"], known["self_test"]["outputs"].values()
        rows, size, (low, high), shape = test["samples"], test["batch_size"], test["range"], told["shape"]
        counts = [rows, size, test["seed"], *shape, *told["places"]]
        numbers = [low, high, told["mean"], test["atol"], *told["values"]]
        whole = (
            isinstance(sha256, str)
            and all(type(one) is int and one >= 0 for one in counts)
            and all(type(one) in (int, float) and abs(one) <= sys.float_info.max for one in numbers)
            and low <= high
            and shape[0] == rows > 0  # also says how many samples there can be
            and size > 0
            and rows % size == 0
            and len(told["places"]) == len(told["values"])
            and all(one < math.prod(shape) for one in told["places"])
        )
    except OSError as error:
        raise Problem(f"{place}: {error.strerror}; expected the certificate that was written beside {path.name}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Problem(f"{place}: no whole certificate of a classifier") from error
    if not whole:
        raise Problem(f"{place}: no whole certificate of a classifier")
    return sha256, test, told


def say(path: Path, found: list[tuple[bool, str]]) -> int:
    """Print what was found; return 1 unless all of it held."""
    for held, text in found:
        print(f"  {'ok ' if held else 'NOT'}  {text}")
    holds = all(held for held, _ in found)
    print(f"{path.name} {'holds' if holds else 'DOES NOT HOLD'} what its certificate says", flush=True)
    return 0 if holds else 1


def fixed_samples(shape: tuple[int, ...], seed: int) -> "np.ndarray":
    """Return numbers from 0 to 1 of this shape, by arithmetic that any language does alike: the end of MurmurHash3."""
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(1, math.prod(shape) + 1, dtype=np.uint64) + np.uint64(seed * 0x9E3779B9 % 2**32)) & mask
    h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & mask
    h = ((h ^ (h >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & mask
    return ((h ^ (h >> np.uint64(16))) / 2.0**32).reshape(shape)


# Pictures


def is_deep(codec: str, details: Any) -> bool:
    """Tell whether Pillow's decoder reads more than 8 bits per channel."""
    parts = details if isinstance(details, tuple) else (details,)
    most = max([part for part in parts if isinstance(part, int)], default=0) if codec.startswith("ppm") else 0
    return most > 255 or any(re.search(";16[BLNS]", str(part)) for part in parts)


def read_picture(path: Path, channels: int) -> "Image.Image":
    """Return an upright 8-bit picture, grey or in colour; what is transparent in it becomes black."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                deep = any(is_deep(*tile[::3]) for tile in getattr(opened, "tile", ()))  # colour, which Pillow cuts to 8 bits
                if deep or opened.mode.startswith(("I", "F")):
                    raise Unreadable(f"{path}: expected 8 bits per channel, got more (Pillow mode {opened.mode})")
                upright = ImageOps.exif_transpose(opened)  # reads it to its end
    except FileNotFoundError as error:
        raise Unreadable(f"{path}: there is no such file") from error
    except UnidentifiedImageError as error:
        raise Unreadable(f"{path}: not a picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(f"{path}: {error}") from error
    if upright.has_transparency_data:
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "black"), upright.convert("RGBA"))
    if upright.mode not in ("1", "L", "RGB"):
        upright = upright.convert("RGB")
    return upright.convert("L" if channels == 1 else "RGB")


def pictures_in(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the pictures of a folder, oldest first, each with the time of its last change and its size in bytes."""
    found = {}
    try:
        for entry in os.scandir(folder):
            is_picture = Path(entry.name).suffix.lower() in SUFFIXES and not entry.name.endswith(MAP_SUFFIX)
            if is_picture and not entry.name.startswith("."):
                try:
                    if entry.is_file():
                        found[folder / entry.name] = (entry.stat().st_mtime_ns, entry.stat().st_size)
                except OSError:  # gone since
                    continue
    except OSError as error:
        raise Problem(f"{folder}: {error.strerror}; expected a folder of pictures") from error
    return dict(sorted(found.items(), key=lambda item: (item[1][0], item[0])))


def watch(folder: Path, handle: Any, interval: float = 0.5, patience: float = 10.0) -> None:
    """Hand over each picture that appears or changes in a folder from now on; never returns.

    A picture is handed over when it looks the same twice. One that cannot be read is tried again as long as somebody may be
    writing it: until it has not changed for `patience` seconds. Then it is reported, and tried again if it changes.
    """
    done = pictures_in(folder)
    note(f"watching {folder}; the {len(done)} pictures there already are left out. Stop with Ctrl-C")
    waiting: dict[Path, tuple[tuple[int, int], float]] = {}
    took = 0.0
    while True:
        time.sleep(max(interval, 4 * took))  # a folder of many thousand pictures is looked at less often
        start = time.monotonic()
        now = pictures_in(folder)
        took = time.monotonic() - start
        done = {path: stamp for path, stamp in done.items() if path in now}
        waiting = {path: entry for path, entry in waiting.items() if path in now}
        for path, stamp in now.items():
            if done.get(path) == stamp:
                continue
            if path not in waiting or waiting[path][0] != stamp:
                waiting[path] = (stamp, time.monotonic())
                continue
            try:
                handle(path)
            except Unreadable as problem:
                if path.exists() and time.monotonic() - waiting[path][1] < patience:
                    continue
                complain(problem)
            done[path] = stamp


# What a label rests on


def occlusion(classifier: Classifier, pixels: "np.ndarray", column: int) -> "np.ndarray":
    """Return how far the evidence for a class falls where a patch of the picture is hidden; shape (height, width).

    Patches of an eighth of the smaller side in steps of half a patch become the mean colour of the picture; the mean of the map
    over each patch comes close to its fall. It is what `kerasnas.explain.occlusion` computes (Zeiler and Fergus 2014).
    """
    height, width = pixels.shape[1:3]
    side = max(2, int(min(height, width) / 8 + 0.5))
    places, covers = [], []
    for length in (height, width):
        patch = min(side, length)
        places.append([slice(at, at + patch) for at in (*range(0, length - patch, max(1, patch // 2)), length - patch)])
        covers.append(np.array([[place.start <= at < place.stop for at in range(length)] for place in places[-1]], float))
    areas = [(rows, columns) for rows in places[0] for columns in places[1]]
    neutral = pixels[0].mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    falls = np.empty(len(areas))
    chunk = 1 if classifier.batch else max(1, min(256, (1 << 19) // (height * width)) - 1)
    whole = None
    for start in range(0, len(areas), chunk):
        some = areas[start : start + chunk]
        hidden = np.repeat(pixels, len(some), axis=0)
        for number, area in enumerate(some):
            hidden[number][area] = neutral
        if classifier.batch:
            whole = classifier.evidence(pixels, column) if whole is None else whole
            falls[start : start + chunk] = whole - classifier.evidence(hidden, column)
        else:  # the whole picture goes along, so that both are rounded alike
            evidence = classifier.evidence(np.concatenate([pixels, hidden]), column)
            falls[start : start + chunk] = evidence[0] - evidence[1:]
    return among_pixels(falls.reshape(len(places[0]), -1), *covers)


def among_pixels(falls: "np.ndarray", down: "np.ndarray", across: "np.ndarray") -> "np.ndarray":
    """Return the map whose means over the patches are their falls, as nearly as five passes bring it (Gilbert 1972, SIRT).

    `down` has a row of zeros and ones for each row of patches, `across` for each column: which pixels it covers.
    """
    sizes = np.outer(down.sum(axis=1), across.sum(axis=1))
    covered = np.outer(down.sum(axis=0), across.sum(axis=0))
    matters = down.T @ (falls != 0) @ across > 0
    values = np.zeros(covered.shape)
    for _ in range(5):
        values += matters * (down.T @ (falls - down @ values @ across.T / sizes) @ across) / covered
    return values


def overlay(picture: "Image.Image", values: "np.ndarray") -> "Image.Image":
    """Return the picture in grey with the map over it: red speaks for the label, blue against it."""
    factor = min(1024 / max(picture.size), max(1, 320 / max(picture.size)))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    grey = picture.convert("L").resize(size, Image.Resampling.NEAREST if factor > 2 else Image.Resampling.BILINEAR)
    limit = np.percentile(np.abs(values), 99) or np.abs(values).max() or 1.0
    small = Image.fromarray(np.clip(values / limit, -1, 1).astype(np.float32))
    strength = np.asarray(small.resize(size, Image.Resampling.BILINEAR))[..., None]
    colour = np.where(strength > 0, (214.0, 39.0, 40.0), (31.0, 119.0, 180.0))
    shares = 0.7 * np.abs(strength)
    mixed = (1 - shares) * np.asarray(grey, np.float32)[..., None] + shares * colour
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def write_map(picture: "Image.Image", values: "np.ndarray", target: Path) -> None:
    """Write the overlay whole or not at all."""
    draft = target.with_name(f".{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        overlay(picture, values).save(draft, "PNG")
        os.replace(draft, target)
    except OSError as error:
        raise Problem(f"{target}: {error.strerror}; expected a folder to write to") from error


# The program


class Job:
    """Classifies pictures one by one and prints a line for each."""

    def __init__(self, classifier: Classifier, form: str, top: int, maps: Path | None) -> None:
        self.classifier, self.form, self.top, self.maps = classifier, form, top, maps
        self.latencies: list[float] = []
        self.csv = csv.writer(sys.stdout, lineterminator="\n")
        if form == "csv":
            self.csv.writerow(["file", "label", "probability", "latency_ms", *classifier.labels])

    def __call__(self, path: Path) -> None:
        """Classify the picture and print its line."""
        picture = read_picture(path, self.classifier.channels)
        pixels = self.classifier.tensor(picture)
        answers = self.classifier.run(pixels)
        latency_ms = self.classifier.latency_ms
        chances = self.classifier.probabilities(answers)[0]
        if not np.isfinite(chances).all():
            raise Unreadable(f"{path}: the model answers with numbers that are not finite")
        self.latencies = [*self.latencies[-999:], latency_ms]
        best, labels = int(chances.argmax()), self.classifier.labels
        row = {"file": str(path), "label": labels[best], "probability": chances[best], "latency_ms": round(latency_ms, 3)}
        if self.maps:
            row["occlusion"] = str(self.maps / f"{path.name}{MAP_SUFFIX}")
            write_map(picture, occlusion(self.classifier, pixels, best), Path(row["occlusion"]))
        if self.form == "json":
            print(json.dumps({**row, "probabilities": dict(zip(labels, chances, strict=True))}, ensure_ascii=False), flush=True)
        elif self.form == "csv":
            self.csv.writerow([path, labels[best], chances[best], row["latency_ms"], *chances])
            sys.stdout.flush()
        else:
            order = sorted(range(len(chances)), key=lambda column: -chances[column])[: self.top]
            shares = ", ".join(f"{labels[column]} {chances[column]:.3f}" for column in order)
            print(f"{path}: {shares} ({latency_ms:.2f} ms)", flush=True)


def note(text: str) -> None:
    """Say something beside the results."""
    print(f"classify: {text}", file=sys.stderr, flush=True)


def complain(problem: Problem) -> None:
    """Say in one line what went wrong."""
    note("error: " + " ".join(str(problem).split()))


def main(arguments: list[str] | None = None) -> int:
    """Return 0; 1 where a picture could not be classified or the file is not as certified, 2 where nothing could begin."""
    parser = argparse.ArgumentParser(
        prog="classify.py",
        description="Classify pictures with an ONNX or LiteRT file that kerasnas has written.",
        epilog="Exit code: 0 all is well, 1 a picture could not be read (the others were) or the file is not as certified, "
        "2 nothing could begin.",
    )
    parser.add_argument("model", type=Path, help="the ONNX or LiteRT file")
    parser.add_argument(
        "pictures", type=Path, nargs="*", default=[], help="pictures and folders of them; none: describe the file"
    )
    parser.add_argument(
        "--verify", action="store_true", help="check the file, and what it computes here, against the certificate beside it"
    )
    parser.add_argument("--watch", action="store_true", help="classify each new picture of one folder until stopped")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text", help="a line for each picture (text)")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="labels in a line of text (3)")
    parser.add_argument("--occlusion", type=Path, metavar="FOLDER", help="write a PNG of what the label rests on there")
    parser.add_argument("--range", type=float, nargs=2, metavar=("BLACK", "WHITE"), help="pixel values the model takes")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="processor threads (as many as cores)")
    given = parser.parse_intermixed_args(arguments)  # options may stand before the pictures
    for stream in (sys.stdout, sys.stderr):  # whatever the locale: labels and file names can hold anything
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    if missing is not None:
        note(f"error: {missing}; needs numpy, onnxruntime and Pillow: {INSTALL}")
        return 2
    if given.verify and given.pictures:
        parser.error("--verify takes no pictures")
    if given.watch and len(given.pictures) != 1:
        parser.error("--watch takes one folder")
    if given.range and not (all(map(math.isfinite, given.range)) and given.range[0] != given.range[1]):
        parser.error("--range takes two different numbers, of black and of white")
    if given.top < 1 or given.threads < 0:
        parser.error("--top is at least 1, --threads at least 0")
    try:
        return work(given)
    except Problem as problem:
        complain(problem)
        return 2
    except BrokenPipeError:  # whoever read the lines has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 0 if given.watch else 130


def work(given: argparse.Namespace) -> int:
    """Do what the command line asks for."""
    if given.verify:
        return verify(given.model, given.threads)
    classifier = Classifier(given.model, given.range, given.threads)
    for text in classifier.notes:
        note(text)
    if not given.pictures:
        print(json.dumps(classifier.describe(), indent=2, ensure_ascii=False))
        return 0
    if given.watch:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as service managers and containers stop it
        watch(given.pictures[0], Job(classifier, given.format, given.top, given.occlusion))
    paths = [one for path in given.pictures for one in (pictures_in(path) if path.is_dir() else [path])]
    if not paths:
        raise Problem(f"{given.pictures[0]}: no picture there ({', '.join(sorted(SUFFIXES))})")
    name, count = Counter(path.name for path in dict.fromkeys(paths)).most_common(1)[0]
    if given.occlusion and count > 1:
        raise Problem(
            f"{given.occlusion}: {count} pictures are called {name}, and there is one map of that name; run them apart"
        )
    job, failed = Job(classifier, given.format, given.top, given.occlusion), 0
    for path in paths:
        try:
            job(path)
        except Unreadable as problem:
            complain(problem)
            failed = 1
    if len(job.latencies) > 1:
        note(f"{len(job.latencies)} pictures, median {statistics.median(job.latencies):.2f} ms")
    return failed


if __name__ == "__main__":
    sys.exit(main())

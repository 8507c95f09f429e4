"""Formats in which an ONNX file's weights and arithmetic can be held in fewer bits, and how a file is brought into one."""

import io
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kerasnas.export.eight_bit_weights import with_eight_bit_weights

__all__ = ["FORMATS", "QuantizationFormat", "prepare", "write_quantized"]

_CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class QuantizationFormat:
    """How weights and activations are held.

    Attributes:
        kind: "float16"; "weights" (8 bits in the file, of which onnxruntime makes float when it opens it); "dynamic" (8 bits,
            the range of activations is found at each call) or "static" (8 bits, the range is that of calibration samples,
            written as QuantizeLinear and DequantizeLinear).
        activations: 8-bit type of the activations of a static format.
        weights: 8-bit type of the weights.
        per_channel: whether each output channel has its own scale.
        reduce_range: whether weights use 7 of the 8 bits, so that sums of two products fit into 16 bits.
        calibration: "MinMax", or "Percentile", which cuts off the outermost 0.001 % of the values.
    """

    kind: Literal["float16", "weights", "dynamic", "static"]
    activations: Literal["int8", "uint8"] = "uint8"
    weights: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True
    reduce_range: bool = False
    calibration: Literal["MinMax", "Percentile"] = "MinMax"


FORMATS: Mapping[str, QuantizationFormat] = {
    "float16": QuantizationFormat("float16"),
    "int8 weights": QuantizationFormat("weights"),
    "dynamic": QuantizationFormat("dynamic"),
    "S8S8": QuantizationFormat("static", "int8", "int8"),
    "S8S8 per tensor": QuantizationFormat("static", "int8", "int8", per_channel=False),
    "U8S8": QuantizationFormat("static", "uint8", "int8"),
    "U8S8 reduce_range": QuantizationFormat("static", "uint8", "int8", reduce_range=True),
    "U8U8": QuantizationFormat("static", "uint8", "uint8"),
    "U8U8 percentile": QuantizationFormat("static", "uint8", "uint8", calibration="Percentile"),
}


def prepare(file: Path, target: Path) -> list[str]:
    """Write the file with its constants folded and its shapes inferred, as quantisation wants it.

    Returns:
        Names of the nodes that hold weights to be quantised (convolutions and matrix products), in the file's order.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet():
        quant_pre_process(str(file), str(target), skip_symbolic_shape=True)  # symbolic shapes would need SymPy
    proto = onnx.load(target)
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    onnx.save(proto, target)
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [node.name for node in proto.graph.node if _is_weighted(node, constants)]


def _is_weighted(node: Any, constants: set[str]) -> bool:
    return node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and bool(constants & set(node.input))


def _before_weights(file: Path) -> list[str]:
    """Return the names of the nodes that no layer with weights comes before."""
    import onnx

    graph = onnx.load(file).graph
    constants = {tensor.name for tensor in graph.initializer}
    behind: set[str] = set()
    first = []
    for node in graph.node:
        if behind & set(node.input) or _is_weighted(node, constants):
            behind |= set(node.output)
        else:
            first.append(node.name)
    return first


def write_quantized(
    prepared: Path,
    target: Path,
    how: QuantizationFormat,
    samples: Mapping[str, np.ndarray],
    *,
    left_in_float: Sequence[str] = (),
) -> None:
    """Write `prepared` in another format.

    Args:
        prepared: what `prepare` wrote.
        target: the file to write.
        how: the format.
        samples: for calibration; input name -> shape (samples, ...).
        left_in_float: names of nodes that keep their arithmetic.
    """
    import onnx
    from onnxruntime import quantization

    with _quiet():
        if how.kind == "float16":
            onnx.save(_to_float16(onnx.load(prepared), left_in_float), target)
            return
        if how.kind == "weights":
            onnx.save(with_eight_bit_weights(onnx.load(prepared), left_in_float), target)
            return
        weights = {"int8": quantization.QuantType.QInt8, "uint8": quantization.QuantType.QUInt8}
        common = {
            "weight_type": weights[how.weights],
            "per_channel": how.per_channel,
            "reduce_range": how.reduce_range,
            "nodes_to_exclude": list(left_in_float),
        }
        if how.kind == "dynamic":  # of the other operators it has only versions that are not standard
            quantization.quantize_dynamic(str(prepared), str(target), ["MatMul", "Gemm", "Conv"], **common)
            return
        # What comes before the first layer with weights, the scaling of pictures, is faster and more precise in float.
        common["nodes_to_exclude"] = [*left_in_float, *_before_weights(prepared)]
        quantization.quantize_static(
            str(prepared),
            str(target),
            _reader(samples),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=weights[how.activations],
            calibrate_method=getattr(quantization.CalibrationMethod, how.calibration),
            **common,
        )


def _to_float16(proto: Any, left_in_float: Sequence[str]) -> Any:
    path = list(sys.path)
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16  # puts its own folder on the path
    finally:
        sys.path[:] = path
    from onnxruntime.quantization.onnx_model import ONNXModel

    half = ONNXModel(convert_float_to_float16(proto, keep_io_types=True, node_block_list=list(left_in_float)))
    half.topological_sort()  # the casts are put at the end
    return half.model


def _reader(samples: Mapping[str, np.ndarray]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Gives the samples in batches."""

        def __init__(self) -> None:
            length = len(next(iter(samples.values())))
            starts = range(0, length, _CALIBRATION_BATCH)
            # The last batch is filled up from the first samples: histograms want batches of one size.
            rows = (np.arange(start, start + min(length, _CALIBRATION_BATCH)) % length for start in starts)
            self.batches = ({name: array[chosen] for name, array in samples.items()} for chosen in rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice from the log and the screen; what it warns of is measured."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)

"""What becomes of a file in another format: checked, run beside the float file, and timed."""

import gzip
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasnas.decided_classes import decided_classes
from kerasnas.errors import KerasNASError
from kerasnas.export.all_nodes import all_nodes
from kerasnas.export.in_batches import run_in_batches
from kerasnas.export.quantization import QuantizationCandidate
from kerasnas.export.session import PROVIDER, Session, open_session

if TYPE_CHECKING:
    import onnx

__all__ = ["check_standard", "measure", "run_all", "weigh", "weighted_operators"]

_BATCH_SIZES = (1, 7)  # the dynamic format takes its scales from the whole batch
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# Recurrent layers are an operator of their own, or a loop that is handed the weights.
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Loop", "Scan")


def check_standard(path: Path) -> None:
    """Raise KerasNASError unless the file passes ONNX's full check and uses standard operators only.

    What only takes room is taken out of the file: declarations of operators that nothing uses, and inferred shapes.
    """
    import onnx

    proto = onnx.load(path)
    strange = sorted({f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in _STANDARD_DOMAINS})
    if strange:
        raise KerasNASError(f"it uses operators that are not standard: {', '.join(strange)}")
    versions = [entry for entry in proto.opset_import if entry.domain in _STANDARD_DOMAINS]
    del proto.opset_import[:]
    proto.opset_import.extend(versions)
    del proto.graph.value_info[:]
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        raise KerasNASError(f"ONNX's check says: {error}") from error
    onnx.save(proto, path)


def run_all(session: Session, samples: Mapping[str, np.ndarray], size: int) -> list[np.ndarray]:
    """Return all outputs for all samples, run `size` at a time, in double precision."""
    outputs = run_in_batches(session, [samples[name] for name, _, _ in session.inputs], size)
    return [array.astype(np.float64) for array in outputs]


def weighted_operators(prepared: Path) -> int:
    """Return how many operators of a float file with its constants folded hold weights: products of two activations do not."""
    import onnx

    return sum(node.op_type in _WEIGHTED for node in _with_weights(onnx.load(prepared).graph))


def _with_weights(graph: "onnx.GraphProto") -> list["onnx.NodeProto"]:
    """Return the nodes that take a constant of two or more dimensions."""
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    return [node for node in all_nodes(graph) if weights & set(node.input)]


def measure(
    name: str,
    path: Path,
    expected: Sequence[np.ndarray],
    samples: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    *,
    weighted: int,
    threshold: float | None = None,
    left_in_float: Sequence[str] = (),
) -> QuantizationCandidate:
    """Run a file beside what the float file gave; its latency is left at NaN and its loss is of agreement.

    Args:
        name: of the format.
        path: the file.
        expected: outputs of the float file.
        samples: input name -> shape (samples, ...).
        labels: column of each sample, shape (samples,), or None; of a single column class 0 or 1.
        weighted: operators of the float file that hold weights.
        threshold: above what the only column of the only output means class 1; None where there is no such output.
        left_in_float: names of nodes that were left in float.

    Raises:
        KerasNASError: if the file does not run or gives NaN.
    """
    session = open_session(path)
    agreement, difference, accuracy = 1.0, 0.0, None
    for size in _BATCH_SIZES:
        for y, z in zip(expected, run_all(session, samples, size), strict=True):
            if not np.all(np.isfinite(z)):
                raise KerasNASError("it gives NaN or infinity")
            spread = float(np.std(y)) or 1.0
            relative = float(np.sqrt(np.mean((y - z) ** 2))) / spread
            difference = max(difference, relative)
            if y.ndim == 2 and (y.shape[1] > 1 or threshold is not None):
                expects, came = (decided_classes(scores, threshold or 0.0) for scores in (y, z))
                agreement = min(agreement, float(np.mean(expects == came)))
                if labels is not None:
                    right = float(np.mean(came == labels))
                    accuracy = right if accuracy is None else min(accuracy, right)
            else:
                agreement = min(agreement, max(0.0, 1 - relative))
    kernels, eight = _kernels(path)
    candidate = QuantizationCandidate(
        name=name,
        size_bytes=0,
        gzip_bytes=0,
        latency_ms=math.nan,
        agreement=agreement,
        relative_difference=difference,
        accuracy=accuracy,
        loss=1 - agreement,
        kernels=kernels,
        fused="" if name in ("float32", "float16", "int8 weights") else f"{eight} of {weighted}",
        left_in_float=tuple(left_in_float),
    )
    return weigh(candidate, path)


def weigh(candidate: QuantizationCandidate, path: Path) -> QuantizationCandidate:
    """Return the candidate with the sizes of the file at `path`."""
    content = path.read_bytes()
    gzipped = gzip.compress(content, compresslevel=9, mtime=0)
    return replace(candidate, size_bytes=len(content), gzip_bytes=len(gzipped))


def _kernels(path: Path) -> tuple[dict[str, int], int]:
    """Return the operators that onnxruntime runs after optimising for this machine, and how many multiply weights in 8 bits."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
        graph = onnx.load(options.optimized_model_filepath).graph
    eight = sum(_is_eight_bit(node.op_type) for node in _with_weights(graph))
    return dict(Counter(node.op_type for node in graph.node).most_common()), eight


def _is_eight_bit(kind: str) -> bool:
    return kind.startswith(("QLinearConv", "QLinearMatMul", "QGemm", "DynamicQuantizeMatMul")) or "Integer" in kind

"""Which Keras models our ONNX export can write, beside Keras's own export and plain tf2onnx.

    python benchmarks/export_conformance.py --out export/CONFORMANCE.md

Every topology of `export_topologies` is built with random weights and exported three times: by `kerasnas.export.to_onnx`, by
`keras.Model.export(format="onnx")` and by `tf2onnx.convert.from_keras`, all at opset 17. A file passes if it passes ONNX's full
check, uses standard operators only, and gives in onnxruntime at batch sizes 1 and 5 what Keras gives, within 1e-4 and finite.
Names and the order of outputs are forgiven the other two. What ONNX has no way to say must be refused with the layer's name.
"""

import argparse
import itertools
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# Without it TensorFlow cannot run some convolutions on some CPUs, and there would be nothing to compare with.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import onnx
from export_topologies import FAMILIES, Topology

from kerasnas.atomic import write_text
from kerasnas.errors import KerasNASError
from kerasnas.export import to_onnx, verify
from kerasnas.export.silence import silence

__all__ = ["EXPORTERS", "Outcome", "judge"]

ATOL = 1e-4
BATCH_SIZES = (1, 5)
OPSET = 17
STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


@dataclass(frozen=True)
class Outcome:
    """What became of one topology with one exporter.

    Attributes:
        passed: the file computes what Keras computes; where ONNX has no way to say it: no file, and the layer's name.
        text: the largest difference, or what went wrong.
    """

    passed: bool
    text: str


def ours(model: keras.Model, path: Path, topology: Topology) -> None:
    to_onnx(model, path, opset=OPSET, preprocessing={"range": list(topology.value_range)}, atol=ATOL)


def keras_export(model: keras.Model, path: Path, _: Topology) -> None:
    import tensorflow as tf

    # It only exports a model that was called.
    inputs = [tf.zeros([2, *(16 if side is None else side for side in t.shape[1:])], t.dtype) for t in model.inputs]
    names = [t._keras_history.operation.name for t in model.inputs]
    by_name = isinstance(getattr(model, "_inputs_struct", None), dict)
    model(dict(zip(names, inputs, strict=True)) if by_name else inputs if len(inputs) > 1 else inputs[0])
    model.export(str(path), format="onnx", verbose=False, opset_version=OPSET)


def plain_tf2onnx(model: keras.Model, path: Path, _: Topology) -> None:
    import tensorflow as tf
    import tf2onnx

    try:
        tf2onnx.convert.from_keras(model, opset=OPSET, output_path=str(path))
    except Exception:  # some models need the signature, others stop at it
        signature = tuple(tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs)
        tf2onnx.convert.from_keras(model, input_signature=signature, opset=OPSET, output_path=str(path))


EXPORTERS: dict[str, Callable[[keras.Model, Path, Topology], None]] = {
    "kerasnas": ours,
    "plain tf2onnx": plain_tf2onnx,
    "Keras's export": keras_export,  # last: it changes tf2onnx for the process
}


def judge(topology: Topology, export: Callable[[keras.Model, Path, Topology], None]) -> Outcome:
    """Export a topology into an empty folder and look at what lies there."""
    model = topology.model()
    with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            with silence():
                export(model, path, topology)
        except Exception as error:
            named = isinstance(error, KerasNASError) and topology.culprit in str(error) and not path.exists()
            if topology.refused and named:
                return Outcome(True, f"refused: {topology.refused}")
            return Outcome(False, f"stops: {type(error).__name__}")
        try:
            return compare(model, path, topology)
        except Exception as error:
            return Outcome(False, f"{type(error).__name__}: {first_line(error)}")


def compare(model: keras.Model, path: Path, topology: Topology) -> Outcome:
    """Compare a written file with Keras."""
    proto = onnx.load(path)
    strange = {node.domain for node in proto.graph.node} - STANDARD_DOMAINS
    if strange:
        return Outcome(False, f"uses operators of {', '.join(sorted(strange))}")
    unknown = sorted({node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if unknown:
        return Outcome(False, f"leaves {', '.join(unknown)} in the file")
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        return Outcome(False, f"fails ONNX's check: {first_line(error)}")
    metadata = {prop.key for prop in proto.metadata_props}
    if "preprocessing" not in metadata:  # so that all are compared on the same samples
        entry = proto.metadata_props.add()
        entry.key, entry.value = "preprocessing", f'{{"range": [{topology.value_range[0]}, {topology.value_range[1]}]}}'
    outcomes = []
    for order in itertools.islice(itertools.permutations(proto.graph.output), 24):
        del proto.graph.output[:]
        proto.graph.output.extend(order)
        onnx.save(proto, path)
        try:
            found = verify(model, path, atol=ATOL, batch_sizes=BATCH_SIZES)
        except KerasNASError as error:
            outcomes.append(Outcome(False, f"does not load: {first_line(error)}"))
            continue
        if found.passed:
            return Outcome(True, f"{found.worst:.0e}")
        outcomes.append(Outcome(False, f"is wrong: {first_line(found.reason)}"))
    return outcomes[0]


def first_line(text: object) -> str:
    """Return what fits into a cell of a table."""
    line = re.sub(r"\s+", " ", re.sub(r".*\[ONNXRuntimeError\] : \d+ : ", "", str(text), flags=re.DOTALL)).replace("|", "/")
    return line if len(line) <= 90 else f"{line[:87]}..."


def report(outcomes: dict[str, dict[str, list[Outcome]]]) -> str:
    """Return the page: the counts by family, and a row for each topology."""
    names = list(EXPORTERS)
    rows = [row for family in outcomes.values() for row in family.values()]
    lines = [
        "# What the ONNX export can write",
        "",
        f"{len(rows)} small Keras models, which hold every layer of Keras {keras.__version__}, exported three ways at opset "
        f"{OPSET} and compared with Keras in onnxruntime {version('onnxruntime')} (tf2onnx {version('tf2onnx')}, TensorFlow "
        f"{version('tensorflow')}). A file passes if it passes ONNX's full check, uses standard operators only, and computes "
        f"at batch sizes {BATCH_SIZES[0]} and {BATCH_SIZES[1]} what Keras computes, within {ATOL:g} and without NaN; the cell "
        "then shows the largest difference. What ONNX has no way to say passes if the export refuses it with the layer's name "
        "and leaves no file. All are compared with Keras at inference (`training=False`); Keras's export leaves augmentation "
        "in.",
        "",
        "Made by `python benchmarks/export_conformance.py --out export/CONFORMANCE.md`.",
        "",
        f"| family | models | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for family, found in [*outcomes.items(), ("all", {str(i): row for i, row in enumerate(rows)})]:
        counts = [sum(row[i].passed for row in found.values()) for i in range(len(names))]
        lines.append(f"| {family} | {len(found)} | {' | '.join(map(str, counts))} |")
    for family, found in outcomes.items():
        lines += [
            "",
            f"## {family[0].upper()}{family[1:]}",
            "",
            f"| model | {' | '.join(names)} |",
            "|---|" + "---|" * len(names),
        ]
        for topology, row in found.items():
            cells = [outcome.text if outcome.passed else f"**no**, {outcome.text}" for outcome in row]
            lines.append(f"| {topology} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the page to write")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    options = parser.parse_args()
    outcomes: dict[str, dict[str, list[Outcome]]] = {family: {n: [] for n in FAMILIES[family]} for family in options.families}
    for exporter, export in EXPORTERS.items():
        for family in options.families:
            for name, topology in FAMILIES[family].items():
                outcome = judge(topology, export)
                outcomes[family][name].append(outcome)
                print(f"{exporter}: {family}: {name}: {'' if outcome.passed else 'NO, '}{outcome.text}", flush=True)
    page = report(outcomes)
    if options.out:
        write_text(options.out, page)
    else:
        print(page)


if __name__ == "__main__":
    main()

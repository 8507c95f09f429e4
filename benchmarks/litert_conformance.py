"""Which Keras models `to_litert` can write: the models of `export_topologies`, with the batch free, else fixed to 1.

    python benchmarks/litert_conformance.py --out export/LITERT_CONFORMANCE.md

A file counts if LiteRT runs it and it computes what Keras computes, within 1e-4 and finite: at batch sizes 1 and 7, or at 1
where the converter cannot leave the batch free. A model without a file must be refused with a layer's or an operation's name,
and nothing may be left on disk.
"""

import argparse
import re
import tempfile
from importlib.metadata import version
from pathlib import Path

import keras
from export_topologies import FAMILIES, Topology

from kerasnas.atomic import write_text
from kerasnas.errors import KerasNASError
from kerasnas.export import to_litert

__all__ = ["judge"]


def judge(topology: Topology) -> tuple[str, str]:
    """Return "written", "batch of 1", "refused" or "wrong", and what to say of it."""
    model = topology.model()
    with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        path, facts = Path(folder) / "model.tflite", {"range": list(topology.value_range)}
        for outcome, batch_size in (("written", None), ("batch of 1", 1)):
            try:
                file = to_litert(model, path, preprocessing=facts, batch_size=batch_size)
                return outcome, f"{file.verification.worst:.0e}{' at a batch of 1' if batch_size else ''}"
            except KerasNASError as error:
                text = " ".join(str(error).split())
        stopped = re.search(r"the converter stopped at (\w+)", text)
        why = stopped[1] if stopped else re.sub(r".*(?:, but|stopped it:) ", "", text)[:90].replace("|", "/")
        named = any(repr(operation.name) in text for operation in model._flatten_layers()) or "It is the layer" in text
        clean = not any(Path(folder).iterdir())
        return ("refused" if clean and (named or "holds texts" in text) else "wrong"), f"refused: {why}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the page to write")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    options = parser.parse_args()
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for family in options.families:
        for name, topology in FAMILIES[family].items():
            try:
                outcome = judge(topology)
            except Exception as error:
                outcome = ("wrong", f"{type(error).__name__}: {str(error)[:90]}")
            found.setdefault(family, {})[name] = outcome
            print(f"{family}: {name}: {' '.join(outcome)}", flush=True)
    kinds = ("written", "batch of 1", "refused", "wrong")
    rows = [(family, list(models.values())) for family, models in found.items()]
    rows.append(("all", [outcome for _, outcomes in rows for outcome in outcomes]))
    lines = [
        "# What the LiteRT export can write",
        "",
        f"{len(rows[-1][1])} models of the list in [CONFORMANCE.md](CONFORMANCE.md), in float32 (Keras {keras.__version__}, "
        f"TensorFlow {version('tensorflow')}, LiteRT {version('ai-edge-litert')}). A cell shows the largest difference from "
        "Keras, at batch sizes 1 and 7, or at 1 where the batch cannot be free; or the operator at which the converter "
        "stopped. What is refused is refused with the name of its layer, and no file is left.",
        "",
        "Made by `python benchmarks/litert_conformance.py --out export/LITERT_CONFORMANCE.md`.",
        "",
        f"| family | models | {' | '.join(kinds)} |",
        "|---|---|---|---|---|---|",
    ]
    for family, outcomes in rows:
        counts = [str(sum(outcome[0] == kind for outcome in outcomes)) for kind in kinds]
        lines.append(f"| {family} | {len(outcomes)} | {' | '.join(counts)} |")
    for family, models in found.items():
        lines += ["", f"## {family[0].upper()}{family[1:]}", "", "| model | LiteRT |", "|---|---|"]
        lines += [f"| {name} | {'**no**, ' if kind == 'wrong' else ''}{text} |" for name, (kind, text) in models.items()]
    page = "\n".join(lines) + "\n"
    if options.out:
        write_text(options.out, page)
    else:
        print(page)


if __name__ == "__main__":
    main()

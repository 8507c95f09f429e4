"""The table of exported files."""

from typing import Any

__all__ = ["EXPLAINED", "print_table"]

EXPLAINED = 4  # test pictures whose maps are compared


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print accuracy, parameters, size, latency, difference from Keras and drift of the explanations of each file."""
    from rich.console import Console
    from rich.table import Table

    counts = [row["samples"] for row in rows if row.get("samples")]
    judged = any(row["accuracy"] is not None for row in rows)
    mapped = any(row["drift"] is not None for row in rows)
    said = ["latency: median of one picture on one thread, onnxruntime or LiteRT on this CPU"]
    if counts:
        fewer = [
            f"{row['file']} on the {row['samples']:,} that chose nothing" for row in rows if row.get("samples") != max(counts)
        ]
        said.insert(0, ", ".join([f"accuracy: on {max(counts):,} test pictures", *fewer]))
    if mapped:
        said.append(
            f"same maps: rank correlation of the occlusion maps of {EXPLAINED} pictures with those of the Keras model before "
            "it was pruned"
        )
    table = Table(caption="; ".join(said), caption_justify="left")
    columns = {
        "file": True,
        "test\naccuracy": judged,
        "parameters": True,
        "zero\nweights": True,
        "kB": True,
        "gzip\nkB": True,
        "latency\nms": True,
        "difference\nfrom Keras": True,
        "same\nmaps": mapped,
    }
    for title, shown in columns.items():
        if shown:
            table.add_column(title, justify="left" if title == "file" else "right", no_wrap=title == "file")
    for row in rows:
        latency, worst = row["latency"], max(row["verification"]["max_abs_difference"].values())
        cells = (
            row["file"],
            "" if row["accuracy"] is None else f"{row['accuracy']:.4f}",
            f"{row['parameters']:,}",
            f"{row['sparsity']:.0%}",
            f"{latency['size_bytes'] / 1000:.1f}",
            f"{latency['gzip_bytes'] / 1000:.1f}",
            f"{latency['median_ms']:.3f}",
            f"{worst:.1e}",
            _correlation(row["drift"]),
        )
        table.add_row(*(cell for cell, shown in zip(cells, columns.values(), strict=True) if shown))
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for row in rows:
        if "reason" in row:
            console.print(f"{row['file']}: {row['reason']}", highlight=False, markup=False)


def _correlation(drift: dict[str, float | None] | None) -> str:
    """Return the rank correlation of the maps; a dash if all of them are blank."""
    if drift is None:
        return ""
    return "-" if drift["rank_correlation"] is None else f"{drift['rank_correlation']:.2f}"

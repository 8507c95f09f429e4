"""The proposals that no trial was spent on."""

from typing import Any

from kerasnas.record import SearchRecord

__all__ = ["rejections"]

_LISTED = 20


def rejections(record: SearchRecord) -> dict[str, Any] | None:
    """Return how many proposals were rejected and why, and rows for the last of them; None if none was."""
    if not record.rejected:
        return None
    numbers = {trial.trial_id: i for i, trial in enumerate(record.trials, 1)}
    rows = [
        {
            "number": i,
            # The reason of a twin names a trial by its id, and the page by its number.
            "reason": one.reason if one.twin is None else "would train the same network again",
            "twin": None if one.twin is None else numbers.get(one.twin, one.twin),
            "values": one.values,
        }
        for i, one in enumerate(record.rejected, 1)
    ]
    twins = sum(one.twin is not None for one in record.rejected)
    return {"count": len(rows), "text": _text(len(rows) - twins, twins), "twins": twins, "rows": rows[-_LISTED:]}


def _text(limits: int, twins: int) -> str:
    again = "would train the network of an earlier trial again"
    if limits and twins:
        why = f"{limits:,} would cost too much, {twins:,} {again}"
    elif limits + twins == 1:
        why = "it would cost too much" if limits else f"it {again}"
    else:
        why = "they would cost too much" if limits else f"they {again}"
    count = "1 proposal was" if limits + twins == 1 else f"{limits + twins:,} proposals were"
    return f"{count} rejected before any training: {why}."

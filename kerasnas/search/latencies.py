"""The latencies of a search: each network is measured once, and what is expected to be far too slow is not."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.atomic import write_json
from kerasnas.search.expected_latency import Work, expected_latency
from kerasnas.trial_record import read_file

__all__ = ["Latencies"]

# The deviation of the logarithm of what is expected is taken from the last measurements, each left out in turn; it starts
# from this value, which counts as so many of them. What is expected to be so many deviations above a limit is not measured, but
# for one in so many: expectations are to be put right where they are wrong.
_DEVIATION, _WORTH, _LAST = 0.25, 10, 40
_BY_FAR, _NEVERTHELESS = 2.0, 10


class Latencies:
    """What was measured on this machine, kept in `latencies.json`, so that a resumed search goes by the same values.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._skipped = folder / "latencies.json", 0
        self._measured: list[tuple[Work, float]] = _read(read_file(self._path) or {})
        self._deviation = _DEVIATION
        self._judge()

    def known(self, work: Work) -> float | None:
        """Return what a network that does the same was measured to take, milliseconds; None if there is none."""
        same = (ms for each, ms in self._measured if each.signature == work.signature and work.signature is not None)
        return next(same, None)

    def expected(self, work: Work) -> float | None:
        """Return what a network is expected to take, milliseconds; None if too little is known."""
        return expected_latency(work, self._measured)

    def is_clear(self, expected_ms: float, limit_ms: float) -> bool:
        """Tell whether an expected latency exceeds a limit by so much that it need not be measured; not always, if asked."""
        if expected_ms <= limit_ms * np.exp(_BY_FAR * self._deviation):
            return False
        self._skipped += 1
        return self._skipped % _NEVERTHELESS != 0

    def of(self, model: keras.Model, work: Work) -> float:
        """Return the latency of a model in milliseconds, known or measured now."""
        known = self.known(work)
        if known is not None:
            return known
        # It brings the converter and onnxruntime with it.
        from kerasnas.search.latency import measure_latency

        latency_ms = measure_latency(model)
        self._measured.append((work, latency_ms))
        self._judge()
        rows = [[*each.amounts, each.signature, ms] for each, ms in self._measured]
        write_json(self._path, {"machine": platform.node(), "measured": rows})
        return latency_ms

    def _judge(self) -> None:
        last = self._measured[-_LAST:]
        errors = [
            np.log(expected / ms)
            for i, (work, ms) in enumerate(last)
            if (expected := expected_latency(work, [*last[:i], *last[i + 1 :]]))
        ]
        known = _WORTH * _DEVIATION**2
        self._deviation = float(np.sqrt((known + np.square(errors).sum()) / (_WORTH + len(errors))))


def _read(content: Mapping[str, Any]) -> list[tuple[Work, float]]:
    """Return what the file holds, if it was measured on this machine; of a damaged file, what is whole."""
    rows = content.get("measured") if content.get("machine") == platform.node() else None
    return [(Work(*row[:4]), float(row[4])) for row in rows if _is_row(row)] if isinstance(rows, list) else []


def _is_row(row: Any) -> bool:
    if not isinstance(row, Sequence) or len(row) != 5:
        return False
    *amounts, signature, ms = row
    numbers = all(isinstance(each, int) and each >= 0 for each in amounts)
    return numbers and isinstance(signature, str | None) and isinstance(ms, float | int) and ms > 0

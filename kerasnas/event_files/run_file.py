"""The event file of one run of TensorBoard."""

import io
import os
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = ["RunFile"]


class RunFile:
    """Appends to a run, a folder that holds one event file between writes.

    The first write takes over what earlier processes left: their whole events before `first_step`, in a new file that
    replaces theirs. Later writes append to it, each in a single call to the operating system, so that a kill leaves whole
    events; the file is closed in between.

    Args:
        folder: the folder of the run.
        first_step: the first step that will be written, >= 0.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self._folder, self._first_step = folder, first_step
        self._path: Path | None = None

    def write(self, step: int, summaries: Iterable[Summary], *, graph: GraphDef | None = None) -> None:
        """Append summaries at a step >= `first_step`, and a graph."""
        now = time.time()
        events = []
        if graph is not None:
            events.append(Event(wall_time=now, step=step, graph_def=graph.SerializeToString()))
        values = [value for summary in summaries for value in summary.value]
        if values:
            events.append(Event(wall_time=now, step=step, summary=Summary(value=values)))
        if self._path is None:
            self._path = self._begin(now)
        with open(self._path, "ab", buffering=0) as file:
            file.write(_records(events))

    def _begin(self, now: float) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(self._folder.glob("events.out.tfevents.*"))
        kept = [
            record
            for file in earlier[-1:]  # the last one holds all; a kill may have left others before it
            for record, event in _read(file.read_bytes())
            if event.WhichOneof("what") in ("summary", "graph_def") and event.step < self._first_step
        ]
        header = [
            Event(wall_time=now, file_version="brain.Event:2"),
            # A TensorBoard that runs meanwhile then forgets the earlier files.
            Event(wall_time=now, session_log=SessionLog(status=SessionLog.START)),
        ]
        path = self._folder / f"events.out.tfevents.{time.time_ns():019d}.{os.getpid()}"
        # Not by atomic_path, whose draft bears the name of the file in a folder, which to TensorBoard is another run.
        draft = self._folder / f"draft.{os.getpid()}"
        draft.write_bytes(_records(header) + b"".join(kept))
        os.replace(draft, path)
        for file in earlier:
            file.unlink(missing_ok=True)
        return path


def _records(events: Iterable[Event]) -> bytes:
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)  # EventFileWriter would import TensorFlow, and keep a thread for each run
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def _read(data: bytes) -> Iterator[tuple[bytes, Event]]:
    """Yield the records of a file, up to the first that is not whole, and what they hold."""
    start = 0
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        content, end = data[start + 12 : start + 12 + length], start + 16 + length
        sums = struct.pack("<I", masked_crc32c(data[start : start + 8])), struct.pack("<I", masked_crc32c(content))
        if sums != (data[start + 8 : start + 12], data[end - 4 : end]):
            return
        yield data[start:end], Event.FromString(content)
        start = end

"""Where the channels of a tensor lie."""

from dataclasses import dataclass

from kerasnas.compress.channels.ledger import Channels

__all__ = ["Layout"]


@dataclass(frozen=True, eq=False)
class Layout:
    """The channels along one axis of a tensor.

    Attributes:
        shape: of the tensor, with the batch; None is a free dimension.
        axis: the one that channels lie along, counted from the end: -1 is the last.
        channels: their numbers in the ledger, as often as they come up; None if nothing of this tensor may go.
        reason: why nothing may go, if `channels` is None.
    """

    shape: tuple[int | None, ...]
    axis: int = -1
    channels: Channels | None = None
    reason: str = ""

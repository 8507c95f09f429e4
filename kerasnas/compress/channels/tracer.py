"""What is learnt of a network while its calls are followed: which weights and settings change with which channels."""

from dataclasses import dataclass
from typing import Any

import keras

from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.ledger import Channels, Ledger
from kerasnas.compress.channels.replay import Call

__all__ = ["Path", "Size", "Slice", "Tracer", "is_elementwise"]

Path = tuple[str, ...]

_NAMES = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid mish relu relu6 selu "
    "sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid squareplus tanh tanh_shrink threshold"
).split()
# Functions that look at one number at a time; a softmax looks at all channels.
_ELEMENTWISE = {getattr(module, name, None) for module in (keras.activations, keras.ops) for name in _NAMES}


@dataclass(frozen=True, eq=False)
class Slice:
    """One axis of one weight.

    Attributes:
        path: of the layer.
        variable: index of the weight in `layer.variables`.
        axis: counted from the end.
        channels: what lies along the axis; None if all of it stays.
        role: "out" for what makes the channels, "bias" for what is added there, "in" for what reads them, "inside" if they are
            no channels of a tensor between layers, "gamma", "beta" and the like in BatchNormalization, "along" for the rest.
    """

    path: Path
    variable: int
    axis: int
    channels: Channels | None
    role: str


@dataclass(frozen=True, eq=False)
class Size:
    """A setting of a layer that is the number of kept `channels`; with an axis, one entry of that setting."""

    path: Path
    setting: str
    axis: int | None
    channels: Channels | None


class Tracer:
    """A ledger of channels, and what hangs on them."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.slices: dict[tuple[Path, int, int], Slice] = {}
        self.sizes: dict[tuple[Path, str, int | None], Size] = {}
        self.made: dict[Path, Channels] = {}  # by each layer that makes channels, in order
        self.held: set[Path] = set()  # layers that stay as they are
        self._noted: set[Path] = set()  # layers with slices or sizes

    def make(self, call: Call, count: int, setting: str, axis: int | None = None) -> Channels:
        """Return the channels that a layer makes, the same in each of its calls; `setting` is their number."""
        if call.path not in self.made:
            self.made[call.path] = self.ledger.create(count, call.path)
        self.resize(call.path, setting, self.made[call.path], axis)
        return self.made[call.path]

    def use(self, call: Call, weight: Any, axis: int, channels: Channels | None, role: str) -> None:
        """Note that `channels` lie along an axis of a weight; a second use ties them to those of the first."""
        index = next(i for i, variable in enumerate(call.operation.variables) if variable is weight)
        key = (call.path, index, axis)
        self._noted.add(call.path)
        if key not in self.slices:
            self.slices[key] = Slice(call.path, index, axis, channels, role)
        else:
            self._match(self.slices[key].channels, channels, call.operation.name)

    def resize(self, path: Path, setting: str, channels: Channels | None, axis: int | None = None) -> None:
        """Note that a setting of a layer is the number of `channels`."""
        key = (path, setting, axis)
        self._noted.add(path)
        if key not in self.sizes:
            self.sizes[key] = Size(path, setting, axis, channels)
        else:
            self._match(self.sizes[key].channels, channels, path[-1])

    def hold(self, path: Path, reason: str) -> None:
        """Let a layer stay as it is, though another use of it left channels free."""
        self.held.add(path)
        noted: list[Slice | Size] = [*self.slices.values(), *self.sizes.values()] if path in self._noted else []
        for entry in noted:
            if entry.path == path:
                self.ledger.freeze(entry.channels, reason)

    def on_axis(self, layout: Layout, axis: int, name: str) -> Channels | None:
        """Return the channels of a tensor where a layer reads them along `axis`; those on another axis stay."""
        if layout.channels is not None and layout.axis != axis:
            self.ledger.freeze(layout.channels, f"'{name}' reads another axis of it")
            return None
        return layout.channels

    def activate(self, call: Call, layout: Layout) -> Layout:
        """Return the layout behind the activation of a layer; channels stay where it looks at several at once."""
        activation = getattr(call.operation, "activation", None)
        if activation is not None and not is_elementwise(activation):
            what = getattr(activation, "__name__", type(activation).__name__)
            self.ledger.freeze(layout.channels, f"the activation '{what}' of '{call.operation.name}' may mix channels")
        return layout

    def _match(self, one: Channels | None, other: Channels | None, name: str) -> None:
        if one is not None and other is not None and len(one) == len(other):
            self.ledger.tie(one, other)
        elif one is not None or other is not None:
            for channels in (one, other):
                self.ledger.freeze(channels, f"'{name}' is shared, and also reads what must stay")


def is_elementwise(activation: Any) -> bool:
    """Return whether an activation function is known to look at one number at a time."""
    return callable(activation) and getattr(activation, "__hash__", None) is not None and activation in _ELEMENTWISE

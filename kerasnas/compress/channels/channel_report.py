"""How many channels each layer has, how many it had, and why some stay."""

from dataclasses import dataclass

import keras

from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.importance import layer_at
from kerasnas.compress.channels.model_check import check_model
from kerasnas.errors import InvalidArgument

__all__ = ["ChannelReport", "LayerChannels", "channel_report"]


@dataclass(frozen=True)
class LayerChannels:
    """The channels (filters, units, heads) that one layer makes.

    Attributes:
        layer: its name, with those of the models around it: "backbone/conv".
        channels: how many it has in the original.
        kept: how many it has in the pruned model.
        free: how many of the original ones `prune_channels` may choose from.
        reason: why the others stay, "" if there are none.
    """

    layer: str
    channels: int
    kept: int
    free: int
    reason: str


@dataclass(frozen=True)
class ChannelReport:
    """What `channel_report` found; `print` shows it as a table.

    Attributes:
        layers: one entry for each layer that makes channels of its own, in the order of computation.
    """

    layers: tuple[LayerChannels, ...]

    def __str__(self) -> str:
        """Return the table as text."""
        head = ("layer", "channels", "kept", "free", "why the others stay")
        rows = [head, *((row.layer, str(row.channels), str(row.kept), str(row.free), row.reason) for row in self.layers)]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
            for row in rows
        ]
        return "\n".join(lines)


def channel_report(model: keras.Model, pruned: keras.Model | None = None) -> ChannelReport:
    """Report for each layer how many channels it has, how many may go, and why the others stay.

    Args:
        model: a built Functional or Sequential model, as it was before pruning.
        pruned: what `prune_channels` made of it; without it nothing counts as removed.
    Returns:
        ChannelReport with a row for each layer that makes channels: convolutions, dense layers, embeddings, attention.
    Raises:
        InvalidArgument: if a model is of another kind, or `pruned` was not made from `model`.
    Example:
        >>> import keras
        >>> from kerasnas.compress import prune_channels
        >>> hidden, out = keras.layers.Dense(8, name="hidden"), keras.layers.Dense(2, name="out")
        >>> model = keras.Sequential([keras.Input((4,)), hidden, out])
        >>> print(channel_report(model, prune_channels(model, ratio=0.75)))
        layer   channels  kept  free  why the others stay
        hidden         8     2     8
        out            2     2     0  it is an output of the model
    """
    check_model(model)
    dependencies = dependencies_of(model)
    bundles = dependencies.bundles
    single = {int(group[0]) for group in bundles.groups if len(group) == 1}
    settings = {size.path: size.setting for size in dependencies.sizes if size.axis is None}
    rows = []
    for path, channels in dependencies.made.items():
        kept = len(channels)
        if pruned is not None:
            try:
                kept = int(getattr(layer_at(pruned, path), settings[path]))
            except (AttributeError, ValueError) as error:
                raise InvalidArgument(
                    f"Expected a model that prune_channels made from '{model.name}', but it has no layer '{'/'.join(path)}' of "
                    "the same kind. Pass the model that was pruned, then what came out."
                ) from error
        own = bundles.of_channel[channels]
        reasons = [bundles.reasons[bundle] or ("all its channels are one" if bundle in single else "") for bundle in own]
        stays = next((reason for reason in reasons if reason), "")
        rows.append(LayerChannels("/".join(path), len(channels), kept, reasons.count(""), stays))
    return ChannelReport(tuple(rows))

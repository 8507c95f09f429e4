"""Structured pruning: models with fewer channels."""

from kerasnas.compress.channels.channel_report import ChannelReport, LayerChannels, channel_report
from kerasnas.compress.channels.prune_channels import AlreadyWithinTarget, ScratchIsBetter, prune_channels
from kerasnas.compress.channels.scratch import ScratchControl, from_scratch_control

__all__ = [
    "AlreadyWithinTarget",
    "ChannelReport",
    "LayerChannels",
    "ScratchControl",
    "ScratchIsBetter",
    "channel_report",
    "from_scratch_control",
    "prune_channels",
]

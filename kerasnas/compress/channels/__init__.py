"""Structured pruning: models with fewer channels."""

from kerasnas.compress.channels.channel_report import ChannelReport, LayerChannels, channel_report
from kerasnas.compress.channels.prune_channels import prune_channels

__all__ = ["ChannelReport", "LayerChannels", "channel_report", "prune_channels"]

"""Compress a trained Keras 3 model.

`prune_channels` removes channels: the model is smaller in every way, and has less to compute on any runtime.
`from_scratch_control` tells whether a network of that size does as well without the weights that pruning kept.

`prune` makes weights exactly zero. That shrinks the download, where the file travels compressed (gzip, zip, an app);
it makes nothing faster and takes no less memory, since the kernels stay dense arrays. `cluster` gives each kernel few distinct
values, to the same end.

`quantize_aware` trains on with the rounding of 8 bits in view, and writes a LiteRT file of 8 bits.
"""

from kerasnas.compress.channels import (
    AlreadyWithinTarget,
    ChannelReport,
    LayerChannels,
    ScratchControl,
    ScratchIsBetter,
    channel_report,
    from_scratch_control,
    prune_channels,
)
from kerasnas.compress.clustering import cluster
from kerasnas.compress.quantize_aware import QuantizedFile, quantize_aware
from kerasnas.compress.sparsity import prune
from kerasnas.compress.sparsity_report import KernelSparsity, SparsityReport, sparsity_report

__all__ = [
    "AlreadyWithinTarget",
    "ChannelReport",
    "KernelSparsity",
    "LayerChannels",
    "QuantizedFile",
    "ScratchControl",
    "ScratchIsBetter",
    "SparsityReport",
    "channel_report",
    "cluster",
    "from_scratch_control",
    "prune",
    "prune_channels",
    "quantize_aware",
    "sparsity_report",
]

"""Compress a trained Keras 3 model.

`prune` makes weights exactly zero. That shrinks the download, where the file travels compressed (gzip, zip, an app);
it makes nothing faster and takes no less memory, since the kernels stay dense arrays.
"""

from kerasnas.compress.sparsity import prune
from kerasnas.compress.sparsity_report import KernelSparsity, SparsityReport, sparsity_report

__all__ = ["KernelSparsity", "SparsityReport", "prune", "sparsity_report"]

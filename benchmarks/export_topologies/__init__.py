"""The conformance list of the ONNX export: small models that hold every layer of Keras."""

from export_topologies.convolutions import CONVOLUTIONS
from export_topologies.elementwise import ACTIVATIONS, NORMALIZATIONS, REGULARIZERS
from export_topologies.networks import NETWORKS, STRUCTURES
from export_topologies.preparations import AUGMENTATION, PREPROCESSING
from export_topologies.sequences import ATTENTION, RECURRENT
from export_topologies.shapes import DENSE, MERGING, OPERATIONS, SHAPES
from export_topologies.topology import Topology

__all__ = ["FAMILIES", "Topology"]

FAMILIES: dict[str, dict[str, Topology]] = {
    "convolutions and pooling": CONVOLUTIONS,
    "normalisation": NORMALIZATIONS,
    "activations": ACTIVATIONS,
    "regularisation": REGULARIZERS,
    "attention": ATTENTION,
    "recurrent": RECURRENT,
    "preprocessing": PREPROCESSING,
    "augmentation": AUGMENTATION,
    "merging": MERGING,
    "shapes": SHAPES,
    "dense and embedding": DENSE,
    "operations": OPERATIONS,
    "networks": NETWORKS,
    "structures": STRUCTURES,
}

"""The conformance list: what ONNX can say is exported as Keras computes it, the rest is refused with the layer's name."""

import importlib
import inspect
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from kerasnas.errors import KerasNASError
from kerasnas.export import to_onnx, verify
from kerasnas.export.functional_view import functional_view

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    FAMILIES = importlib.import_module("export_topologies").FAMILIES

TOPOLOGIES = {name: topology for family in FAMILIES.values() for name, topology in family.items()}

# What the repairs are for, and one of each family.
FAST = {
    "Conv3D, grouped",
    "Conv2DTranspose, output padding",
    "SpectralNormalization of Conv2D",
    "activation celu",
    "GroupQueryAttention",
    "Bidirectional LSTM",
    "GRU behind Masking",
    "Resizing, bilinear",
    "Resizing, nearest",
    "Resizing, bicubic",
    "Resizing, lanczos3",
    "Discretization",
    "IntegerLookup",
    "MelSpectrogram",
    "RandomCrop",
    "arg max",
    "error function",
    "names of one's own",
    "inputs and outputs by name",
    "StringLookup",
    "StringLookup, multi hot",
    "StringLookup, unknown words spread",
    "Hashing",
    "Conv2D, channels first",
}
# And every third of the others; benchmarks/export_conformance.py runs them all.
SOME = [name for number, name in enumerate(TOPOLOGIES) if name in FAST or number % 3 == 0]


def runs(model):
    try:
        model(keras.ops.zeros([2, *model.inputs[0].shape[1:]]))
    except Exception:
        return False
    return True


def test_names_are_unique_and_the_fast_ones_exist():
    assert len(TOPOLOGIES) == sum(map(len, FAMILIES.values()))
    assert set(TOPOLOGIES) > FAST


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in SOME])
def test_topology(tmp_path, name):
    topology = TOPOLOGIES[name]
    model = topology.model()
    facts = {"range": list(topology.value_range)}
    if topology.refused:
        with pytest.raises(KerasNASError, match=topology.culprit):
            to_onnx(model, tmp_path / "m.onnx", preprocessing=facts)
        assert list(tmp_path.iterdir()) == []
        return
    if topology.needs_onednn and not runs(model):  # which of the two it is depends on the processor
        with pytest.raises(KerasNASError, match=f"TF_ENABLE_ONEDNN_OPTS=1.*{topology.culprit}"):
            to_onnx(model, tmp_path / "m.onnx", preprocessing=facts)
        return
    file = to_onnx(model, tmp_path / "m.onnx", preprocessing=facts)
    assert verify(model, file, batch_sizes=(1, 5), atol=1e-4).passed
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx.ml"}
    assert set(file.outputs) == {value.name for value in proto.graph.output}


def layers_of(model):
    for layer in model._flatten_layers():
        yield type(layer)
        yield from (type(cell) for cell in [getattr(layer, "cell", None)] if cell is not None)


# The bases of others; what a user writes himself; other backends; boxes beside pictures; layers of other names (aliases).
NOT_LISTED = {"Layer", "Wrapper", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "TFSMLayer", "MaxNumBoundingBoxes"}


@pytest.mark.slow
def test_the_list_holds_every_layer_of_keras():
    public = {c for c in vars(layers).values() if inspect.isclass(c) and issubclass(c, layers.Layer)}
    held = {kind for topology in TOPOLOGIES.values() for kind in layers_of(topology.model())}
    missing = {c.__name__ for c in public - held}
    assert missing <= NOT_LISTED


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SOME if not (TOPOLOGIES[n].refused or TOPOLOGIES[n].needs_onednn)])
def test_outputs_depend_on_the_inputs(name):
    # A model that gives the same for every sample would agree with anything.
    topology = TOPOLOGIES[name]
    model, rng = topology.model(), np.random.default_rng(0)
    low, high = topology.value_range

    texts = functional_view(model, allow_texts=True).texts

    def draw(tensor):
        if tensor.dtype == "string":
            return rng.choice(np.asarray(texts[tensor._keras_history.operation.name], object), [16, *tensor.shape[1:]])
        size = [16, *(16 if side is None else side for side in tensor.shape[1:])]
        whole = "int" in tensor.dtype
        return (rng.integers(low, high + 1, size) if whole else rng.uniform(low, high, size)).astype(tensor.dtype)

    x = [draw(tensor) for tensor in model.inputs]
    given = dict(zip([t._keras_history.operation.name for t in model.inputs], x, strict=True))
    flat = keras.Model(model.inputs, model.outputs)
    outputs = flat(list(given.values()), training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    assert max(float(np.ptp(keras.ops.convert_to_numpy(y), axis=0).max()) for y in outputs) > 1e-3

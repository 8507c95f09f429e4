import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2, activation="softmax")

    def call(self, x):
        return self.dense(keras.layers.Flatten()(x))


@pytest.fixture
def subclassed():
    """A subclassed model, which has no graph to look into."""
    return Own()


@pytest.fixture
def cnn():
    """Make a small network; `head` is the activation of its last layer."""

    def make(shape=(12, 12, 3), classes=4, head="softmax", nested=None, dtype="float32"):
        layers = keras.layers
        backbone = [
            layers.Conv2D(6, 3, padding="same", activation="relu", dtype=dtype, name="first"),
            layers.MaxPooling2D(dtype=dtype),
            layers.Conv2D(8, 3, padding="same", use_bias=False, dtype=dtype, name="last"),
            layers.BatchNormalization(dtype=dtype, name="norm"),
            layers.ReLU(dtype=dtype, name="relu"),
        ]
        top = [
            layers.Flatten(dtype=dtype),
            layers.Dense(16, activation="tanh", dtype=dtype),
            layers.Dropout(0.5, dtype=dtype),
            layers.Dense(classes, activation=head, dtype=dtype, name="scores"),
        ]
        if nested is not None:
            backbone = [keras.Sequential([keras.Input(shape), *backbone, *nested], name="backbone")]
            top = top if not nested else top[1:]
        return keras.Sequential([keras.Input(shape), *backbone, *top])

    return make


@pytest.fixture
def ending_onnx_file(tmp_path):
    """Make an ONNX file of images that ends in these operators; also return its logits for images."""
    from onnx import TensorProto, helper, numpy_helper, save

    def make(*ends, units=10):
        kernel = np.random.default_rng(0).normal(0, 4, (3, units)).astype("float32")
        constants = {"kernel": kernel, "scale": np.float32(1 / 255), "zero": np.int8(-128), "shape": np.array([-1, units])}
        steps = ["ReduceMean", "MatMul", *ends]
        rounding = ["scale", "zero"]
        more = {"MatMul": ["kernel"], "Reshape": ["shape"], "QuantizeLinear": rounding, "DequantizeLinear": rounding}
        nodes = [
            helper.make_node(step, ["x" if i == 0 else f"t{i}", *more.get(step, [])], [f"t{i + 1}"])
            for i, step in enumerate(steps)
        ]
        nodes[0].attribute.extend([helper.make_attribute("axes", [1, 2]), helper.make_attribute("keepdims", 0)])
        start = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 12, 12, 3])
        end = helper.make_tensor_value_info(f"t{len(steps)}", TensorProto.FLOAT, ["batch", units])
        held = [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if any(name in node.input for node in nodes)
        ]
        graph = helper.make_graph(nodes, "box", [start], [end], held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        path = tmp_path / f"ending-{units}-{ends[0]}-{len(ends)}.onnx"
        save(model, path)
        return path, lambda images: images.mean(axis=(1, 2)).astype(np.float64) @ kernel

    return make

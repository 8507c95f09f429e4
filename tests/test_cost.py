"""Parameters, multiply-accumulates and activation memory against closed forms, published figures and brute force."""

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers

from kerasnas.cost import Cost, cost_of
from kerasnas.errors import InvalidArgument


def sequential(shape, *parts, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])


def macs(shape, *parts, dtype="float32"):
    cost = cost_of(sequential(shape, *parts, dtype=dtype))
    assert cost.uncounted == ()
    return cost.macs


# -- multiply-accumulates --


def sum_of_ones(shape, layer):
    """Run a linear layer of ones on ones: each product is 1, so that the sum of the output counts them."""
    model = sequential(shape, layer)
    for weight in layer.weights:
        weight.assign(np.zeros(weight.shape) if "bias" in weight.name else np.ones(weight.shape))
    return int(np.asarray(model(np.ones((1, *shape), "float32")), "float64").sum()), cost_of(model).macs


@settings(max_examples=40)
@given(
    data=st.data(),
    rank=st.integers(1, 3),
    kernel=st.integers(1, 3),
    strides=st.integers(1, 2),
    groups=st.integers(1, 2),
    dilated=st.booleans(),
)
def test_a_convolution_counts_its_products(data, rank, kernel, strides, groups, dilated):
    shape = (*data.draw(st.tuples(*[st.integers(5, 7)] * rank)), groups * data.draw(st.integers(1, 2)))
    dilation = 2 if dilated and strides == 1 else 1
    kind = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1]
    layer = kind(2 * groups, kernel, strides=strides, groups=groups, dilation_rate=dilation)
    assume(rank < 3 or groups == 1)
    products, counted = sum_of_ones(shape, layer)
    assert counted == products


@settings(max_examples=20)
@given(
    rank=st.integers(1, 2),
    size=st.integers(3, 6),
    channels=st.integers(1, 3),
    kernel=st.integers(1, 3),
    strides=st.integers(1, 2),
    depthwise=st.booleans(),
)
def test_transposed_and_depthwise_convolutions_count_their_products(rank, size, channels, kernel, strides, depthwise):
    if depthwise:
        layer = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)[rank - 1](kernel, strides=strides, depth_multiplier=2)
    else:
        layer = (layers.Conv1DTranspose, layers.Conv2DTranspose)[rank - 1](4, kernel, strides=strides)
    products, counted = sum_of_ones((*[size] * rank, channels), layer)
    assert counted == products


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((7,), lambda: layers.Dense(3)),
        ((4, 5, 7), lambda: layers.Dense(3)),
        ((4, 7), lambda: layers.EinsumDense("abc,cd->abd", output_shape=(None, 3))),
        ((4, 6), lambda: layers.EinsumDense("abc,bcde->ade", output_shape=(2, 3))),
        ((4, 5, 6), lambda: layers.EinsumDense("...x,xy->...y", output_shape=(3,))),
    ],
)
def test_a_dense_layer_counts_its_products(shape, layer):
    products, counted = sum_of_ones(shape, layer())
    assert counted == products > 0


def test_same_padding_counts_whole_windows():
    assert macs((6, 5, 3), layers.Conv2D(4, 3, padding="same")) == 6 * 5 * 9 * 3 * 4
    assert macs((6, 5, 3), layers.Conv2D(4, 3, strides=2, padding="same")) == 3 * 3 * 9 * 3 * 4
    assert macs((6, 5, 3), layers.SeparableConv2D(4, 3, depth_multiplier=2, padding="same")) == 30 * (9 * 6 + 6 * 4)


def test_channels_first():
    model = sequential((3, 6, 5), layers.Conv2D(4, 3, data_format="channels_first"))
    assert cost_of(model).macs == 4 * 3 * 9 * 3 * 4


def test_what_adds_and_looks_up_counts_as_none():
    parts = [
        layers.Normalization(mean=1.0, variance=2.0),
        layers.BatchNormalization(),
        layers.LayerNormalization(axis=[1, 2]),
        layers.PReLU(),
        layers.MaxPooling2D(),
        layers.RandomFlip(),
        layers.GlobalAveragePooling2D(),
    ]
    assert macs((8, 8, 2), *parts) == 0
    assert macs((5,), layers.Embedding(10, 4), layers.Flatten(), dtype="int32") == 0


@pytest.mark.parametrize(("kind", "gates"), [(layers.SimpleRNN, 1), (layers.GRU, 3), (layers.LSTM, 4)])
@pytest.mark.parametrize("sequences", [True, False])
def test_recurrent_layers(kind, gates, sequences):
    one = 7 * gates * 5 * (3 + 5)
    assert macs((7, 3), kind(5, return_sequences=sequences)) == one
    assert macs((7, 3), layers.Bidirectional(kind(5, return_sequences=sequences))) == 2 * one


def test_stacked_cells_and_time():
    cells = [layers.LSTMCell(5), layers.GRUCell(2)]
    assert macs((7, 3), layers.RNN(cells)) == 7 * (4 * 5 * (3 + 5) + 3 * 2 * (5 + 2))
    assert macs((7, 6, 5, 3), layers.TimeDistributed(layers.Conv2D(4, 3))) == 7 * 4 * 3 * 9 * 3 * 4
    inner = sequential((3,), layers.Dense(4), layers.Dense(2))
    assert macs((7, 3), layers.TimeDistributed(inner)) == 7 * (12 + 8)
    for sequences in (False, True):
        layer = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=sequences)
        assert macs((7, 6, 5, 3), layer) == 7 * 30 * 9 * (3 + 4) * 16
    assert macs((3,), layers.SpectralNormalization(layers.Dense(4))) == 12


def test_attention():
    query, value = keras.Input((6, 8)), keras.Input((5, 10))
    attended = layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)(query, value)
    projections = 6 * 8 * 2 * 3 + 5 * 10 * 2 * 3 + 5 * 10 * 2 * 4 + 6 * 2 * 4 * 8
    assert cost_of(keras.Model([query, value], attended)).macs == projections + 6 * 5 * 2 * (3 + 4)
    # Keys given by name, before the values: the order of the arguments is not that of the flattened ones.
    key = keras.Input((5, 7))
    attended = layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)(query=query, key=key, value=value)
    projections = 6 * 8 * 2 * 3 + 5 * 7 * 2 * 3 + 5 * 10 * 2 * 4 + 6 * 2 * 4 * 8
    assert cost_of(keras.Model([query, key, value], attended)).macs == projections + 6 * 5 * 2 * (3 + 4)
    grouped = layers.GroupQueryAttention(head_dim=3, num_query_heads=4, num_key_value_heads=2)(query, query)
    assert cost_of(keras.Model(query, grouped)).macs == 6 * 8 * (4 + 2 + 2) * 3 + 6 * 4 * 3 * 8 + 2 * 6 * 6 * 4 * 3
    same = keras.Input((5, 8))
    assert cost_of(keras.Model([query, same], layers.Attention()([query, same]))).macs == 6 * 5 * (8 + 8)


def test_products_of_tensors():
    a, b = keras.Input((6, 8)), keras.Input((8, 5))
    assert cost_of(keras.Model([a, b], keras.ops.matmul(a, b))).macs == 6 * 8 * 5
    c = keras.Input((5, 8))
    assert cost_of(keras.Model([a, c], layers.Dot(axes=2)([a, c]))).macs == 6 * 8 * 5


def test_a_shared_layer_counts_at_each_use_but_its_parameters_once():
    inputs = keras.Input((4,))
    dense = layers.Dense(4)
    cost = cost_of(keras.Model(inputs, dense(dense(inputs))))
    assert (cost.parameters, cost.macs) == (20, 32)


def test_nested_models_count_as_if_they_were_flat():
    def parts():
        return [layers.Conv2D(4, 3, padding="same"), layers.ReLU(), layers.Conv2D(2, 1)]

    flat = sequential((6, 6, 3), *parts(), layers.Flatten(), layers.Dense(2))
    nested = sequential((6, 6, 3), sequential((6, 6, 3), *parts()), layers.Flatten(), layers.Dense(2))
    free = sequential((6, 6, 3), sequential((None, None, 3), *parts()), layers.Flatten(), layers.Dense(2))
    assert cost_of(flat) == cost_of(nested) == cost_of(free)


@keras.saving.register_keras_serializable("test_cost")
class Twice(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4))

    def call(self, x):
        return 2 * keras.ops.matmul(x, self.kernel)


def test_an_unknown_layer_is_estimated_and_named():
    cost = cost_of(sequential((5, 3), Twice(name="odd"), layers.Dense(2)))
    assert cost.macs == 5 * 3 * 4 + 5 * 4 * 2
    assert cost.uncounted == ("odd (Twice)",)
    inputs = keras.Input((5, 3))
    cost = cost_of(keras.Model(inputs, keras.ops.einsum("abc,abc->ab", inputs, inputs)))
    assert (cost.macs, len(cost.uncounted)) == (0, 1)


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [
        ("MobileNet", 569e6, 0.01),  # Howard et al. 2017, table 4
        ("MobileNetV2", 300e6, 0.01),  # Sandler et al. 2018, table 4
        pytest.param("ResNet50", 3.8e9, 0.02, marks=pytest.mark.slow),  # He et al. 2015, table 1, two digits
    ],
)
def test_published_counts(name, published, tolerance):
    cost = cost_of(getattr(keras.applications, name)(weights=None))
    assert cost.macs == pytest.approx(published, rel=tolerance)
    assert cost.uncounted == ()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the profiler is TensorFlow's")
def test_tensorflow_counts_the_same():
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs)
    x = layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = layers.Flatten()(layers.Conv2D(6, 1, use_bias=False)(x))
    model = keras.Model(inputs, layers.Dense(10, use_bias=False)(x))
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec((1, 12, 12, 3)))
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    graph = convert_variables_to_constants_v2(function).graph
    profile = tf.compat.v1.profiler.profile(graph, options=options)
    assert profile.total_float_ops == 2 * cost_of(model).macs


# -- memory --


def test_memory_of_a_chain_is_its_widest_pair():
    # Input 16 B, then 40 B, 20 B, 8 B: the widest call holds 40 + 20.
    model = sequential((4,), layers.Dense(10), layers.Dense(5), layers.Dense(2))
    assert cost_of(model).activation_bytes == 4 * (10 + 5)


def test_a_shortcut_keeps_its_tensor():
    inputs = keras.Input((4,))
    x = layers.Dense(4)(layers.Dense(20)(inputs))
    model = keras.Model(inputs, layers.Add()([inputs, x]))
    assert cost_of(model).activation_bytes == 4 * (4 + 20 + 4)  # the input waits while the second layer runs


def test_types_and_views():
    model = sequential((8, 8, 3), layers.Conv2D(4, 3), layers.Flatten(), layers.Dropout(0.5), layers.Dense(2), dtype="uint8")
    assert cost_of(model).activation_bytes == 8 * 8 * 3 + 4 * 6 * 6 * 4
    half = sequential((8,), layers.Dense(8, dtype="mixed_float16"), layers.Dense(8, dtype="mixed_float16"), dtype="float16")
    assert cost_of(half).activation_bytes == 2 * (8 + 8)
    # A view that changes the type is a copy.
    copied = sequential((8,), layers.Dropout(0.5, dtype="float16"))
    assert cost_of(copied).activation_bytes == 4 * 8 + 2 * 8


def augmentation():
    """Each layer of this Keras that changes pictures and keeps their size."""
    fitting = {"RandomTranslation": (0.2, 0.2), "RandomPosterization": (4,)}
    plain = ("AugMix", "AutoContrast", "CutMix", "MixUp", "Solarization")  # Keras puts no Equalization into a network
    one = ("Brightness", "ColorDegeneration", "Contrast", "Hue", "Rotation", "Saturation", "Sharpness", "Zoom")
    for name in sorted(name for name in dir(layers) if name in plain or name.startswith("Random")):
        if name == "RandomCrop":  # gives pictures of another size
            continue
        yield getattr(layers, name)(*fitting.get(name, (0.2,) if name.removeprefix("Random") in one else ()))


def test_augmentation_takes_memory_only_where_it_does_something_at_inference():
    images = np.random.default_rng(0).uniform(0, 200, (2, 16, 16, 3)).astype("float32")
    one, wrong = 4 * images[0].size, {}
    for layer in augmentation():
        came = np.asarray(layer(images, training=False))
        copied = 0 if np.array_equal(came, images) else 4 * came[0].size
        counted = cost_of(sequential((16, 16, 3), layer)).activation_bytes - one
        wrong |= {} if counted == copied else {layer.name: (counted, copied)}
    assert not wrong


KINDS = {
    "dense": lambda width, name: layers.Dense(width, name=name),
    "relu": lambda width, name: layers.ReLU(name=name),
    "view": lambda width, name: layers.Dropout(0.5, name=name),
    "half": lambda width, name: layers.Activation("relu", dtype="float16", name=name),
}


@st.composite
def dags(draw):
    """Nodes as (kind, width, indices of parents); node 0 is the input; some outputs."""
    nodes = [("input", draw(st.integers(1, 9)), ())]
    for i in range(1, draw(st.integers(2, 9))):
        kind = draw(st.sampled_from([*KINDS, "merge"]))
        count = draw(st.integers(2, 3)) if kind == "merge" else 1
        parents = tuple(draw(st.integers(max(0, i - 4), i - 1)) for _ in range(count))
        nodes.append((kind, draw(st.integers(1, 9)), parents))
    read = {parent for _, _, parents in nodes for parent in parents}
    sinks = [i for i in range(1, len(nodes)) if i not in read]
    return nodes, sorted({*sinks, draw(st.integers(1, len(nodes) - 1))})


def build(nodes, outputs):
    tensors = [keras.Input((nodes[0][1],))]
    for i, (kind, width, parents) in enumerate(nodes[1:], 1):
        ins = [tensors[p] for p in parents]
        if kind == "merge":
            same = len({t.shape[-1] for t in ins}) == 1
            tensors.append((layers.Add if same else layers.Concatenate)(name=f"n{i}")(ins))
        else:
            tensors.append(KINDS[kind](width, f"n{i}")(ins[0]))
    return keras.Model(tensors[0], [tensors[i] for i in outputs]), tensors


@settings(max_examples=40)
@given(dag=dags())
def test_memory_against_brute_force(dag):
    nodes, outputs = dag
    model, tensors = build(nodes, outputs)
    order = []  # as Keras really runs it
    model._run_through_graph(
        np.zeros((1, nodes[0][1]), "float32"), lambda op: lambda *args, **kwargs: order.append(op.name) or op(*args, **kwargs)
    )
    step = {0: -1} | {int(name[1:]): t for t, name in enumerate(order)}
    assert len(step) == len(nodes)

    def bytes_of(i):
        return tensors[i].shape[-1] * np.dtype(tensors[i].dtype).itemsize

    root = list(range(len(nodes)))
    for i, (kind, _, parents) in enumerate(nodes):
        if kind == "view" and tensors[i].dtype == tensors[parents[0]].dtype:
            root[i] = root[parents[0]]
    peak = 0
    for now in range(-1, len(order)):
        alive = set()
        for i in range(len(nodes)):
            readers = [step[j] for j, (_, _, parents) in enumerate(nodes) if i in parents]
            end = len(order) if i in outputs else max([step[i], *readers])
            if step[i] <= now <= end:
                alive.add(root[i])
        peak = max(peak, sum(map(bytes_of, alive)))
    assert cost_of(model).activation_bytes == peak


# -- the rest --


def test_parameters_are_those_of_keras():
    model = sequential((8, 8, 2), layers.Normalization(), layers.Conv2D(3, 3), layers.BatchNormalization())
    assert cost_of(model).parameters == model.count_params() == 2 + 2 + 1 + 57 + 12


def test_a_fixed_batch_is_not_counted():
    free, fixed = keras.Input((4,)), keras.Input(batch_shape=(32, 4))
    assert cost_of(keras.Model(free, layers.Dense(3)(free))) == cost_of(keras.Model(fixed, layers.Dense(3)(fixed)))
    assert cost_of(keras.Model(fixed, layers.Dense(3)(fixed))) == Cost(15, 12, 28)


def test_what_has_no_cost_is_refused():
    with pytest.raises(InvalidArgument, match="input 0 of"):
        cost_of(sequential((None, 8, 3), layers.Conv2D(2, 3)))
    with pytest.raises(InvalidArgument, match="input shape"):
        cost_of(keras.Sequential([layers.Dense(2)]))

    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(InvalidArgument, match="Subclassed"):
        cost_of(Subclassed())
    with pytest.raises(InvalidArgument, match="Keras 3 model"):
        cost_of(layers.Dense(3))


def test_a_gate_and_outputs_of_several_axes_of_attention_count():
    x = keras.Input((5, 8))

    def attention(**settings):
        return cost_of(keras.Model(x, layers.MultiHeadAttention(2, 3, **settings)(x, x))).macs

    assert attention(use_gate=True) - attention() == 5 * 8 * 2 * 3
    assert attention(output_shape=(4, 2)) - attention(output_shape=(1,)) == 5 * 2 * 3 * (4 * 2 - 1)


def test_an_embedding_of_each_step_looks_up():
    x = keras.Input((10, 20), dtype="int32")
    assert cost_of(keras.Model(x, layers.TimeDistributed(layers.Embedding(1000, 64))(x))).macs == 0


def test_an_embedding_in_reverse_multiplies():
    tokens, layer = keras.Input((10,), dtype="int32"), layers.ReversibleEmbedding(1000, 64)
    cost = cost_of(keras.Model(tokens, layer(layer(tokens), reverse=True)))
    assert (cost.macs, cost.uncounted) == (10 * 64 * 1000, ())

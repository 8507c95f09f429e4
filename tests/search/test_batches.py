import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.search.batches import Batches, as_fast_input


@given(samples=st.integers(1, 60), size=st.integers(1, 70), epoch=st.integers(0, 9), shuffle=st.booleans())
def test_each_sample_comes_once_with_its_label(samples, size, epoch, shuffle):
    x = np.arange(samples)
    batches = Batches((x, 10 * x, {"w": 0.5 * x}), batch_size=size, seed=3, shuffle=shuffle)
    batches.begin_epoch(epoch)
    seen = [batches[i] for i in range(len(batches))]
    order = np.concatenate([b[0] for b in seen])
    assert sorted(order) == list(range(samples))
    assert np.array_equal(np.concatenate([b[1] for b in seen]), 10 * order)
    assert np.array_equal(np.concatenate([b[2]["w"] for b in seen]), 0.5 * order)
    assert all(len(b[0]) == size for b in seen[:-1])
    assert shuffle or np.array_equal(order, x)


def test_the_order_follows_from_seed_and_epoch_alone():
    def order(seed, epochs):
        batches = Batches((np.arange(50),), batch_size=50, seed=seed)
        for epoch in epochs:
            batches.begin_epoch(epoch)
        return list(batches[0][0])

    assert order(1, [0, 1, 2, 3]) == order(1, [3])
    assert order(1, [3]) != order(1, [4])
    assert order(1, [3]) != order(2, [3])


@pytest.mark.parametrize("index", [0, 2])
def test_no_more_batches_than_samples(index):
    batches = Batches((np.arange(5),), batch_size=2, seed=0)
    assert len(batches) == 3
    assert len(batches[index][0]) == (1 if index == 2 else 2)


@pytest.mark.parametrize(("samples", "size"), [(10, 4), (8, 4), (3, 5)])
def test_tensorflow_reads_the_same_batches_anew_in_each_epoch(samples, size):
    x = np.arange(samples, dtype="float64")
    arrays = ({"a": x, "b": [x.astype("int32"), x > 2]}, x.astype("uint8"))
    batches = Batches(arrays, batch_size=size, seed=1)
    dataset = as_fast_input(batches)
    assert len(dataset) == len(batches)
    for epoch in range(3):
        batches.begin_epoch(epoch)
        read = list(dataset.as_numpy_iterator())
        for i, (inputs, labels) in enumerate(read):
            expected = batches[i]
            assert np.array_equal(inputs["a"], expected[0]["a"])
            assert np.array_equal(inputs["b"][0], expected[0]["b"][0])
            assert np.array_equal(inputs["b"][1], expected[0]["b"][1])
            assert np.array_equal(labels, expected[1])
            assert [inputs["a"].dtype, inputs["b"][0].dtype, labels.dtype] == ["float32", "int32", "uint8"]
        assert len(read) == len(batches)


def test_a_training_is_the_same_whatever_reads_its_batches():
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(50, 3)), rng.integers(0, 2, 50), rng.uniform(size=50)

    def train(prepare):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy", weighted_metrics=["accuracy"])
        data = prepare(Batches((x, y, weight), batch_size=16, seed=0))
        history = model.fit(data, epochs=3, shuffle=False, verbose=0)
        return history.history, model.get_weights()

    fast, usual = train(as_fast_input), train(lambda batches: batches)
    assert fast[0] == usual[0]
    assert all(np.array_equal(a, b) for a, b in zip(fast[1], usual[1], strict=True))

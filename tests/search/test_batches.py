import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.search.batches import Batches


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

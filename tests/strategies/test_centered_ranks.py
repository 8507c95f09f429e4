"""Ranks in closed form."""

import numpy as np
import pytest

from kerasnas.strategies.centered_ranks import centered_ranks


@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ([], []),
        ([7.0], [0.0]),
        ([np.nan], [-1.0]),
        ([3.0, 1.0, 2.0], [1.0, -1.0, 0.0]),
        ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]),
        ([0.0, 5.0, 5.0], [-1.0, 0.5, 0.5]),
        ([np.nan, 1.0, np.nan, 2.0], [-1.0, 1 / 3, -1.0, 1.0]),
        ([1e300, np.inf, -np.inf, -1e300], [1.0, -1.0, -1.0, 1 / 3]),
    ],
)
def test_ranks(scores, ranks):
    np.testing.assert_allclose(centered_ranks(scores), ranks, atol=1e-15)


def test_the_unit_does_not_matter():
    scores = np.random.default_rng(0).normal(size=30)
    np.testing.assert_array_equal(centered_ranks(scores), centered_ranks(np.exp(1e2 * scores)))

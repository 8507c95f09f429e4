import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.search.claim import Claim

X, Y = np.arange(24.0).reshape(4, 3, 2), np.array([0, 1, 0, 1])
SETTINGS = {"epochs": 3, "space": "conv_dense", "shape": (3, 2)}


def test_the_same_search_is_accepted(tmp_path):
    Claim(tmp_path / "p", arrays=(X, Y), settings=SETTINGS).check()  # nothing there yet
    Claim(tmp_path / "p", arrays=(X, Y), settings=SETTINGS).write()
    Claim(tmp_path / "p", arrays=(X.copy(), Y.copy()), settings=dict(SETTINGS)).check()
    Claim(tmp_path / "p", arrays=(np.asfortranarray(X), Y), settings=SETTINGS).check()


def other_value():
    x = X.copy()
    x[3, 2, 1] += 1e-9
    return x


@pytest.mark.parametrize(
    ("arrays", "settings", "named"),
    [
        ((other_value(), Y), {}, "data"),
        ((X, Y[::-1]), {}, "data"),
        ((X.reshape(4, 2, 3), Y), {}, "data"),
        ((X[:3], Y[:3]), {}, "data"),
        ((X,), {}, "data"),
        ((X, Y), {"epochs": 4}, "epochs"),
        ((X, Y), {"space": "other", "epochs": 9}, "epochs .*, space"),
        ((X, Y), {"shape": (2, 3)}, "shape"),
        ((X, Y), {"new": None, "batch_size": 3}, "batch_size"),
    ],
)
def test_another_search_is_refused_and_named(arrays, settings, named, tmp_path):
    Claim(tmp_path, arrays=(X, Y), settings=SETTINGS).write()
    with pytest.raises(InvalidArgument, match=f"other {named}.*overwrite=True"):
        Claim(tmp_path, arrays=arrays, settings=SETTINGS | settings).check()

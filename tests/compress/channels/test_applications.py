"""Every network of keras.applications that the field prunes can be pruned here."""

import keras
import numpy as np
import pytest

from kerasnas.compress import channel_report, prune_channels
from kerasnas.cost import cost_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

NETWORKS = ["MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "ResNet50", "DenseNet121"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_all_channels_go(name, shake):
    model = shake(getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=7))
    pruned = prune_channels(model, ratio=0.5)  # raises unless shrunk == masked in every layer
    rows = channel_report(model, pruned).layers
    # All but the classes are free: nothing in these networks has no rule.
    assert [row.free for row in rows] == [row.channels for row in rows[:-1]] + [0]
    kept = np.array([row.kept / row.channels for row in rows[:-1]])
    assert (kept >= 0.5).all()
    assert kept.mean() < 0.51  # odd numbers are rounded up
    assert cost_of(pruned).macs < 0.3 * cost_of(model).macs
    assert pruned.count_params() < 0.3 * model.count_params()


@pytest.mark.slow
def test_a_target_in_macs_is_met_closely():
    model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=7)
    pruned = prune_channels(model, macs=0.4, scope="global", divisor=8)
    share = cost_of(pruned).macs / cost_of(model).macs
    assert 0.38 < share <= 0.4
    assert all(row.kept % 8 == 0 or row.kept == row.channels for row in channel_report(model, pruned).layers)

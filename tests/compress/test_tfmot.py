"""Pruning leaves no trace in the process: tf.keras, the environment and child processes stay as the user has them."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, subprocess, sys, warnings
before = os.environ.get("TF_USE_LEGACY_KERAS")
{first}
import keras, numpy as np
from kerasnas.compress import prune
expected = {expected!r}
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
pruned = prune(model, np.ones((8, 4)), np.zeros(8, int), epochs=1)
assert isinstance(pruned, keras.Model)
assert "tensorflow_model_optimization" in sys.modules
import tensorflow as tf
for found in (tf.keras, tf.compat.v1.keras, tf.compat.v2.keras):
    assert (found.Model is keras.Model) == (expected == "keras"), found
if {after} == None:  # the other lazy parts of TensorFlow follow the variable, which is not ours in the other cases
    assert tf.optimizers.Adam is keras.optimizers.Adam
assert os.environ.get("TF_USE_LEGACY_KERAS") == {after}, os.environ.get("TF_USE_LEGACY_KERAS")
if {child}:
    code = "import keras, tensorflow as tf; print(tf.keras.Model is keras.Model)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "True", seen
print("clean")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "first", "expected", "after", "child"),
    [
        (None, "", "keras", "None", True),
        ("0", "", "keras", "'0'", False),
        ("1", "", "tf_keras", "'1'", False),  # a user of legacy Keras keeps it
        (None, "import tensorflow as tf; tf.keras.Model; import tensorflow_model_optimization", "keras", "'1'", False),
    ],
    ids=["absent", "zero", "one", "tfmot-first"],
)
def test_process_stays_clean(value, first, expected, after, child):
    environment = {name: text for name, text in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    if value is not None:
        environment["TF_USE_LEGACY_KERAS"] = value
    script = SCRIPT.format(first=first, expected=expected, after=after, child=child)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "clean", done.stderr[-3000:]

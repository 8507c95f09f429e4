"""What the message of a failed trial comes to."""

import traceback

import keras
import numpy as np
import pytest

from kerasnas.trial_errors import error_of, reason_of


def message_of(call):
    try:
        call()
    except Exception:
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


def test_the_error_is_found_below_its_frames():
    message = message_of(lambda: {}["units"])
    assert error_of(message) == ("KeyError", "'units'", "")
    assert reason_of(message) == "KeyError: 'units'"


def test_of_errors_that_led_to_one_another_the_last_counts():
    def call():
        try:
            int("five")
        except ValueError as error:
            raise RuntimeError("no number") from error

    assert reason_of(message_of(call)) == "RuntimeError: no number"


def test_what_keras_says_of_a_layer_is_the_sentence_below_without_its_colours():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    reason = reason_of(message_of(lambda: model(np.ones((2, 5)))))
    assert reason.startswith("ValueError: Input 0")
    assert "shape" in reason
    assert "\x1b" not in reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("XlaRuntimeError: no\n--------\nFor simplicity, JAX has removed its internal frames.", "XlaRuntimeError: no"),
        ("it is\nnot known", "not known"),
        ("MemoryError", "MemoryError"),
        ("", "no message"),
        (None, "no message"),
        ("ValueError: " + "x" * 500, "ValueError: " + "x" * 148),
    ],
)
def test_other_messages(message, reason):
    assert reason_of(message) == reason

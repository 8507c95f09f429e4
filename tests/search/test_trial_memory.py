"""No trial leaves its graphs in memory."""

import gc

from kerasnas.search.trial_memory import no_gradients_left


def graphs():
    gc.collect()
    return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())


def test_the_graphs_of_trials_are_let_go(make, small, points):
    left = []
    for trials in (2, 4, 6):
        tuner = make(small(), objective="val_loss", max_trials=trials)
        tuner.search(*points, validation_data=points, epochs=2, verbose=0)
        left.append(graphs())
    assert len(tuner.record().completed) == 6
    assert left[0] == left[1] == left[2]


def test_gradients_of_others_are_kept():
    import tensorflow as tf

    @tf.custom_gradient
    def double(x):
        return 2 * x, lambda upstream: 7 * upstream  # told from the true one

    @tf.function
    def before(x):
        return double(x)

    before(tf.constant(1.0))
    with no_gradients_left():
        tf.function(double)(tf.constant(1.0))
    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = before(x)
    assert float(y) == 6.0
    assert float(tape.gradient(y, x)) == 7.0

"""When XLA and several steps per execution pay on TensorFlow's CPU: seconds of compilation and milliseconds of a step.

Each network is trained on random pictures as a trial is: with validation, and with a last batch that is not full, for
which XLA compiles once more. A line for each way of running it: the seconds that the first epoch takes longer than the
fastest one (tracing and compilation), CPU seconds of the same, and milliseconds of a training step of the fastest epoch,
validation not counted. kerasnas/search/execution.py follows from it.

    python benchmarks/compilation.py                                    # about half an hour on two cores
    python benchmarks/compilation.py --networks tiny-default --batches 32 64 128 --steps 1 8 32
"""

import argparse
import json
import time
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from kerasnas.cost import cost_of
from kerasnas.spaces import ConvDense

SHAPES = {"tiny": (8, 8, 1), "small": (28, 28, 1), "colour": (32, 32, 3)}
# What differs from the default network, one block of convolution in each of two stages.
KINDS: dict[str, dict[str, Any]] = {"default": {}} | {
    kind: {f"stage_{s}_{name}": value for s in (1, 2, 3) for name, value in (("kind", kind), ("blocks", 2))}
    for kind in ("conv", "residual", "separable", "inverted_residual")
}
NETWORKS = {f"{shape}-{kind}": (shape, kind) for shape in SHAPES for kind in KINDS}


class Clock(keras.callbacks.Callback):
    """Wall and CPU seconds of each epoch's training, and of its validation."""

    def __init__(self) -> None:
        super().__init__()
        self.train: list[tuple[float, float]] = []
        self.test: list[tuple[float, float]] = []

    def _lap(self) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        lap = (wall - self._wall, cpu - self._cpu)
        self._wall, self._cpu = wall, cpu
        return lap

    def on_epoch_begin(self, *_: Any) -> None:
        """Start the clock."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def on_test_begin(self, *_: Any) -> None:
        """End the training of an epoch."""
        self.train.append(self._lap())

    def on_epoch_end(self, *_: Any) -> None:
        """End its validation."""
        self.test.append(self._lap())


def measure(name: str, *, batch: int, jit: bool, steps: int, step_count: int, epochs: int) -> dict[str, Any]:
    """Train one network and return what its compilation and its steps took."""
    shape, kind = NETWORKS[name]
    space = (ConvDense.tiny if shape == "tiny" else ConvDense.small)(SHAPES[shape], 10)
    hp = kt.HyperParameters()
    hp.values = {"augment": False, "filters": 16} | KINDS[kind]
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = space.build(hp)
    model.compile(optimizer=model.optimizer, loss=model.loss, metrics=["accuracy"], jit_compile=jit, steps_per_execution=steps)
    rng = np.random.default_rng(0)
    samples = step_count * batch - batch // 2
    x = rng.integers(0, 256, (samples, *space.input_shape)).astype("uint8")
    y = keras.utils.to_categorical(rng.integers(0, 10, samples), 10)
    held_out = max(samples // 4, batch + 1)
    clock = Clock()
    model.fit(
        x,
        y,
        batch_size=batch,
        epochs=epochs,
        validation_data=(x[:held_out], y[:held_out]),
        callbacks=[clock],
        verbose=0,
    )
    (train_wall, train_cpu), (test_wall, test_cpu) = (np.min(laps[1:], axis=0) for laps in (clock.train, clock.test))
    return {
        "network": name,
        "layers": len(model.layers),
        "macs": cost_of(model).macs,
        "batch": batch,
        "jit": jit,
        "steps_per_execution": steps,
        "compile_s": clock.train[0][0] - train_wall + clock.test[0][0] - test_wall,
        "compile_cpu_s": clock.train[0][1] - train_cpu + clock.test[0][1] - test_cpu,
        "step_ms": 1e3 * train_wall / step_count,
        "step_cpu_ms": 1e3 * train_cpu / step_count,
        "depthwise": sum(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in model.layers),
        "test_s": test_wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[64])
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 32], help="steps per execution")
    parser.add_argument("--step-count", type=int, default=32, help="training steps of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", help="file for the lines as JSON")
    arguments = parser.parse_args()
    rows = []
    print(
        f"{'network':26}{'layers':>7}{'MACs':>12}{'batch':>7}{'XLA':>5}{'steps':>7}{'compile s':>11}{'(CPU)':>8}{'step ms':>9}"
    )
    for name in arguments.networks:
        for batch in arguments.batches:
            for jit in (False, True):
                for steps in arguments.steps:
                    row = measure(
                        name,
                        batch=batch,
                        jit=jit,
                        steps=steps,
                        step_count=arguments.step_count,
                        epochs=arguments.epochs,
                    )
                    rows.append(row)
                    print(
                        f"{name:26}{row['layers']:7}{row['macs']:12,}{batch:7}{'yes' if jit else 'no':>5}{steps:7}"
                        f"{row['compile_s']:11.2f}{row['compile_cpu_s']:8.2f}{row['step_ms']:9.2f}{row['step_cpu_ms']:9.2f}",
                        flush=True,
                    )
                    if arguments.out:
                        with open(arguments.out, "w", encoding="utf-8") as file:
                            json.dump(rows, file)


if __name__ == "__main__":
    main()

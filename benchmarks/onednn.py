"""How much faster TensorFlow trains on this CPU with oneDNN than without: TF_ENABLE_ONEDNN_OPTS=1 against 0.

    python benchmarks/onednn.py

Each of a few networks of ConvDense is trained for two epochs on random pictures, each setting in a process of its own, since it
is read when TensorFlow is imported. The table has the CPU seconds of the second epoch, which other load changes least.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

NETWORKS: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "defaults, 28x28x1": ((28, 28, 1), {}),
    "defaults, 32x32x3": ((32, 32, 3), {}),
    "separable": ((28, 28, 1), {"stage_1_kind": "separable", "stage_2_kind": "separable"}),
    "inverted residuals, 5x5": ((28, 28, 1), {"stage_1_kind": "inverted_residual", "stage_1_kernel": 5}),
    "32 filters, two blocks, gelu": ((28, 28, 1), {"filters": 32, "stage_1_blocks": 2, "activation": "gelu"}),
}


def measure(samples: int) -> dict[str, float]:
    """Return the CPU seconds of an epoch of each network."""
    import keras
    import keras_tuner as kt
    import numpy as np

    from kerasnas.search.fit_input import steady_input
    from kerasnas.spaces import ConvDense

    rng, seconds = np.random.default_rng(0), {}
    for name, (shape, values) in NETWORKS.items():
        space, hp = ConvDense.small(shape, 10, mean=127.0, standard_deviation=74.0), kt.HyperParameters()
        hp.values = dict(values)
        model = space.build(hp)
        model.jit_compile, model.steps_per_execution = False, 32
        x, y = rng.uniform(0, 255, (samples, *shape)).astype("float32"), rng.integers(0, 10, samples)
        ends: list[float] = []
        clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_, ends=ends: ends.append(time.process_time()))
        with steady_input(model, "0"):
            space.fit(hp, model, x, y, batch_size=64, epochs=2, verbose=0, callbacks=[clock])
        seconds[name] = ends[1] - ends[0]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)  # the process of one setting
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options.samples)))
        return
    seconds = []
    for setting in ("0", "1"):
        command = [sys.executable, __file__, "--run", "--samples", str(options.samples)]
        found = subprocess.run(
            command, check=True, env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": setting}, stdout=subprocess.PIPE, text=True
        )
        seconds.append(json.loads(found.stdout.splitlines()[-1]))
    print("| network | without oneDNN | with it | ratio |\n|---|---|---|---|")
    for name, without in seconds[0].items():
        print(f"| {name} | {without:.2f} s | {seconds[1][name]:.2f} s | {without / seconds[1][name]:.1f} |")


if __name__ == "__main__":
    main()

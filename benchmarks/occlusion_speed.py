"""What occlusion of a large image costs, beside tf-explain's at about as many predictions.

    python benchmarks/occlusion_speed.py

One image of 224x224 pixels, MobileNetV2 without weights, in turn. kerasnas hides patches of 16 pixels with a stride of 8 (729
predictions); tf-explain, which has no stride, patches of 8 side by side (784). kerasnas compiles what it runs at every call,
which is in its time; tf-explain's was compiled before. The memory is the largest that the process has held, MiB, beyond what it
held before; tf-explain keeps all occluded images at once.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity

from kerasnas.explain import occlusion


def most_mib() -> float:
    """Return the most memory that this process has ever held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    keras.config.disable_interactive_logging()
    model = keras.applications.MobileNetV2(weights=None)
    image = np.random.default_rng(0).random((224, 224, 3)).astype("float32")
    runs: dict[str, Callable[[], Any]] = {
        "kerasnas, 729 predictions": lambda: occlusion(model, image[None], target=0, patch=16, stride=8, baseline=0.5),
        "tf-explain, 784 predictions": lambda: OcclusionSensitivity().get_sensitivity_map(model, image, 0, 8),
    }
    model.predict(np.repeat(image[None], 10, axis=0))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    grown: dict[str, float] = {}
    for turn in range(options.repeats + 1):  # the first compiles
        for name, run in runs.items():
            before = most_mib()
            spent = timed(run)
            if turn:
                seconds[name].append(spent)
            else:
                grown[name] = most_mib() - before
    print("| | seconds | ms a prediction | memory beyond the ones above, MiB |\n|---|---|---|---|")
    for name, spent in seconds.items():
        count = int(name.split()[-2])
        print(f"| {name} | {np.median(spent):.1f} | {np.median(spent) / count * 1000:.1f} | {grown[name]:.0f} |")


if __name__ == "__main__":
    main()

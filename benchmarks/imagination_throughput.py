"""How many imagined proposals a second: drawn by the policy, and judged by the neural reward model on the backend's device.

The policy draws with NumPy, on the CPU; the five networks of the reward model are evaluated in one batch by Keras. Compare
devices by running it once with each, in a space of 30 decisions:

    KERAS_BACKEND=jax python benchmarks/imagination_throughput.py
    KERAS_BACKEND=jax JAX_PLATFORMS=cpu python benchmarks/imagination_throughput.py
"""

import time
from collections.abc import Callable

import keras
import numpy as np

from kerasnas.strategies import Discrete
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.policy import AutoregressivePolicy
from kerasnas.strategies.reward.network import NetworkEnsemble
from kerasnas.strategies.reward.scale import rank_normal

BATCHES = (64, 512, 4_096, 32_768)
SECONDS = 2.0


def per_second(do: Callable[[], object], count: int) -> float:
    """Return how many of `count` things a call are done a second, over about two seconds after one call to warm up."""
    do()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        do()
        calls += 1
    return count * calls / (time.perf_counter() - start)


def device() -> str:
    """Return the device that Keras computes on."""
    if keras.backend.backend() == "jax":
        import jax

        return str(jax.devices()[0])
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    import tensorflow as tf

    return str((tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU"))[0].name)


def main() -> None:
    encoding = Encoding([Discrete(name=f"d{i}", values=tuple(range(5)), ordered=i % 2 == 0) for i in range(30)])
    rng = np.random.default_rng(0)
    units = encoding.sample(256, rng)
    targets = rank_normal(units[:, 0] + units[:, 1] * units[:, 2] + 0.1 * rng.normal(size=len(units)))
    networks, policy = NetworkEnsemble(encoding), AutoregressivePolicy(encoding)
    start = time.perf_counter()
    networks.tune(units, targets)
    networks.fit(units, targets)
    print(f"backend {keras.backend.backend()}, device {device()}; trained on 256 rows in {time.perf_counter() - start:.1f} s")
    print(f"{'batch':>8}{'drawn a second':>18}{'judged a second':>18}{'both':>14}")
    for batch in BATCHES:
        drawn = per_second(lambda batch=batch: policy.sample(batch, rng), batch)
        rows = policy.sample(batch, rng)
        judged = per_second(lambda rows=rows: networks.predict(rows), batch)
        both = per_second(lambda batch=batch: networks.predict(policy.sample(batch, rng))[0].argmax(), batch)
        print(f"{batch:8,}{drawn:18,.0f}{judged:18,.0f}{both:14,.0f}", flush=True)


if __name__ == "__main__":
    main()

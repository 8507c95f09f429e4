"""Settings shared by all tests: quiet TensorFlow, one seed, no pictures on a screen."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import hypothesis

# A slow machine is no defect, and whoever runs the tests sees the same cases.
hypothesis.settings.register_profile(
    "kerasnas", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("kerasnas")

"""A search that is killed, again and again, and finished: a real process and a real SIGKILL."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from kerasnas.search import SearchRecord

TRIALS, KILLS = 10, 2

SCRIPT = """
import sys, time
import keras, keras_tuner as kt
from kerasnas.oracles import ReinforceOracle
from kerasnas.search import NASTuner

class Fake(kt.HyperModel):
    def build(self, hp):
        hp.Int("a", 0, 20)
        with hp.conditional_scope("a", list(range(10))):
            hp.Float("rate", 1e-4, 1.0, sampling="log")
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        with open(sys.argv[1] + ".log", "a") as log:
            log.write(f"{hp.get('a')}\\n")
        time.sleep(float(sys.argv[3]))
        return {"score": -abs(hp.get("a") - 7) + float(keras.random.uniform(()))}  # the trial's seed counts

oracle = ReinforceOracle(kt.Objective("score", "max"), max_trials=int(sys.argv[2]), seed=3)
print("begin", flush=True)
NASTuner(Fake(), oracle, directory=".", project_name=sys.argv[1]).search(verbose=0)
"""


def start(folder, project, pause):
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", SCRIPT, project, str(TRIALS), str(pause)]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    try:
        _, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, errors


def outcome(folder):
    return [(t.trial_id, t.status, t.score, dict(t.values)) for t in SearchRecord.load(folder).trials]


def finished(folder):
    """The trials that a reader sees as ended; every file of a killed search must be whole."""
    states = [json.loads(file.read_text()) for file in sorted(folder.glob("trial_*/trial.json"))]
    return {s["trial_id"]: (s["score"], s["hyperparameters"]["values"]) for s in states if s["status"] == "COMPLETED"}


@pytest.mark.slow
def test_kill_9_loses_and_repeats_no_finished_trial(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    whole = start(tmp_path, "whole", 0.0)
    finish(whole)

    chance, kills, before = random.Random(), 0, {}
    folder = tmp_path / "killed"
    while kills < KILLS:
        process = start(tmp_path, "killed", 0.2)
        assert process.stdout.readline() == "begin\n"
        # The first moment may be before any trial, the later ones are among the trials.
        time.sleep(chance.uniform(0.0, 1.2))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        kills += 1
        after = finished(folder) if folder.exists() else {}
        assert before.items() <= after.items()
        before = after
    finish(start(tmp_path, "killed", 0.0))

    assert outcome(folder) == outcome(tmp_path / "whole")
    assert before.items() <= finished(folder).items()
    # Only what was running at a kill was trained twice.
    runs = (tmp_path / "killed.log").read_text().splitlines()
    assert TRIALS <= len(runs) <= TRIALS + kills

"""A distributed search with KerasTuner's own chief and two workers, each a process."""

import json
import os
import socket
import subprocess
import sys

import pytest

from kerasnas.oracles.excuses import is_excused
from kerasnas.search import SearchRecord

TRIALS = 12

SCRIPT = """
import os, sys, time
import keras, keras_tuner as kt
from kerasnas.oracles import ReinforceOracle
from kerasnas.search import NASTuner

def declare(hp):
    kind = hp.Choice("kind", ["conv", "dense"])
    with hp.conditional_scope("kind", ["conv"]):
        hp.Choice("rate", [0.1, 1e-5, 0.3])
    hp.Float("dropout", 0.0, 0.5, step=0.1)
    hp.Boolean("wide")

def score(hp):
    time.sleep(0.1)
    return hp.get("dropout") + hp.get("wide") - (hp.get("kind") == "conv")

class Fake(kt.HyperModel):
    def build(self, hp):
        declare(hp)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        if hp.get("kind") == "conv" and hp.get("dropout") == 0.2:
            raise ValueError("out of luck")
        return {"score": score(hp)}

oracle = ReinforceOracle(kt.Objective("score", "max"), max_trials=12, seed=0, max_consecutive_failed_trials=9)
NASTuner(Fake(), oracle, directory=".", project_name="p", overwrite=True).search()
"""


STOPPING = """
import os
import keras, keras_tuner as kt, numpy as np
from kerasnas.oracles import RandomOracle
from kerasnas.search import NASTuner
from kerasnas.stopping import Stop, StoppingRule

class Second(StoppingRule):
    def should_stop(self, curve, others, *, epochs):
        if len(curve) < 2 or len(others) < 3:
            return None
        return Stop("second", "enough", {"others": float(len(others)), "process": float(os.getpid())})

def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 64)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model

x = np.random.default_rng(0).normal(size=(512, 2)).astype("float32")
oracle = RandomOracle("val_loss", max_trials=10, seed=0)
tuner = NASTuner(build, oracle, stopping=Second(), directory=".", project_name="p", overwrite=True)
tuner.search(x, x[:, :1], validation_data=(x, x[:, :1]), epochs=6)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder, name, port, script=SCRIPT):
    environment = os.environ | {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(processes):
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def search(folder, script):
    """Run a chief and two workers to their end; return what the workers and the chief printed."""
    port = free_port()
    processes = [start(folder, name, port, script) for name in ("chief", "tuner0", "tuner1")]
    outputs = []
    try:
        for process in reversed(processes):  # the workers end first
            outputs.append(process.communicate(timeout=240)[0])
    finally:
        end(processes)
    assert [p.returncode for p in processes] == [0, 0, 0], "\n".join(outputs)
    return outputs


@pytest.mark.slow
def test_two_workers_share_the_trials(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    outputs = search(tmp_path, SCRIPT)
    record = SearchRecord.load(tmp_path / "p")
    state = json.loads((tmp_path / "p" / "oracle.json").read_text())
    assert len(record.trials) == TRIALS
    assert sorted(state["end_order"]) == [t.trial_id for t in record.trials]  # each ended once
    assert {t.status for t in record.trials} <= {"COMPLETED", "FAILED"}
    assert len({json.dumps(dict(t.values), sort_keys=True) for t in record.trials}) == TRIALS
    for trial in record.completed:
        values = trial.values
        expected = values["dropout"] + values["wide"] - (values["kind"] == "conv")
        assert trial.score == pytest.approx(expected, abs=1e-6)
        assert ("rate" in values) == (values["kind"] == "conv")
        assert values.get("rate", 0.1) in (0.1, 1e-5, 0.3)
        assert type(values["wide"]) is bool
    assert all(t.seconds > 0 for t in record.trials)
    lines = [line for output in outputs[:2] for line in output.splitlines() if line.startswith("trial ")]
    assert len(lines) == TRIALS
    failed = [t for t in record.trials if t.status == "FAILED"]
    assert sum("failed: ValueError: out of luck" in line for line in lines) == len(failed)


@pytest.mark.slow
def test_a_rule_sees_the_curves_of_the_other_worker(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    search(tmp_path, STOPPING)
    trials = SearchRecord.load(tmp_path / "p").trials
    assert [trial.status for trial in trials] == ["COMPLETED"] * 10
    stopped = [trial for trial in trials if trial.stopped is not None]
    assert all(trial.epochs == (2 if trial in stopped else 6) for trial in trials)
    assert len(stopped) >= 5
    processes = {trial.stopped["details"]["process"] for trial in stopped}
    assert len(processes) == 2
    for process in processes:
        own = sum(trial.stopped["details"]["process"] == process for trial in stopped)
        most = max(t.stopped["details"]["others"] for t in stopped if t.stopped["details"]["process"] == process)
        assert most >= 8 > own  # nine others, of which the last may not have finished an epoch
    # The chief has heard what they would have come to.
    assert all(trial.stopped["expected"] <= trial.score for trial in stopped)


MEMORY = """
import os, pathlib, signal, time
import keras, keras_tuner as kt, numpy as np
from kerasnas.oracles import RandomOracle
from kerasnas.search import NASTuner, lost_workers

lost_workers._BEAT_S, lost_workers._PATIENCE_S = 0.2, 15.0
isolate = {isolate}

class Hungry(kt.HyperModel):
    def build(self, hp):
        hp.Int("a", 0, 20)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        second = not isolate and os.environ["KERASTUNER_TUNER_ID"] == "tuner1"
        if second:
            pathlib.Path("second").touch()
        if second or isolate and hp.get("a") % 2:
            os.kill(os.getpid(), signal.SIGKILL)  # as Linux does it
        while not isolate and not os.path.exists("second"):  # it must have begun a trial before none is left
            time.sleep(0.05)
        if hp.get("a") % 2:
            raise MemoryError("Unable to allocate 1. TiB")
        time.sleep(0.3)
        return {{"score": float(hp.get("a"))}}

oracle = RandomOracle(kt.Objective("score", "max"), max_trials=4 if isolate else 8, seed=0)
x = np.zeros((4, 2), "float32")
NASTuner(Hungry(), oracle, directory=".", project_name="p", isolate=isolate).search(x, x[:, :1])
"""


@pytest.mark.slow
def test_the_chief_hears_of_a_worker_that_was_killed_and_of_one_that_could_not_allocate(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    port = free_port()
    script = MEMORY.format(isolate=False)
    chief, *workers = processes = [start(tmp_path, name, port, script) for name in ("chief", "tuner0", "tuner1")]
    try:
        assert workers[1].wait(timeout=240) == -9
        heard = workers[0].communicate(timeout=240)[0]
        told = chief.communicate(timeout=240)[0]
    finally:
        end(processes)
    assert (chief.returncode, workers[0].returncode) == (0, 0), told + heard
    trials = SearchRecord.load(tmp_path / "p").trials
    assert len(trials) == 8
    (lost,) = [trial for trial in trials if trial.message and "its worker was lost" in trial.message]
    assert lost.status == "FAILED"
    assert is_excused(lost.message)
    assert f"Nothing was heard of worker tuner1 for 15 s. Its trial {lost.trial_id} has failed." in told
    for trial in trials:
        if trial is not lost:
            assert trial.status == ("FAILED" if trial.values["a"] % 2 else "COMPLETED")
            assert ("Unable to allocate" in (trial.message or "")) == bool(trial.values["a"] % 2)
    assert not (tmp_path / "p" / ".workers").exists()


@pytest.mark.slow
def test_a_worker_outlives_the_process_of_its_trial(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    search(tmp_path, MEMORY.format(isolate=True))
    trials = SearchRecord.load(tmp_path / "p").trials
    assert len(trials) == 4
    odd = [trial for trial in trials if trial.values["a"] % 2]
    assert odd == [trial for trial in trials if trial.status == "FAILED"] != []
    assert all("InfeasibleArchitecture: The process of the trial died" in trial.message for trial in odd)

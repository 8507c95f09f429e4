"""Whether the edge kit answers as Keras does: its runner in an environment without TensorFlow, its page in a browser.

    make test-edge  # once: makes .venv-edge and fetches what the page needs
    python benchmarks/edge_parity.py --pictures 100

Small networks learn scikit-learn's digits (values from 0 to 16), Fashion-MNIST (0 to 255, ending in logits) and Fashion-MNIST
in random colours. Each is exported, and quantised to 8 bits; PNG pictures of the test part go through the runner and through
the page in headless Chromium. The table tells how many labels are those of Keras and the largest difference of a probability;
of the 8-bit files Keras is onnxruntime on the same file, since rounding there is what the file says. The last columns compare
the page with the runner on the same pictures at another size, which both resize.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
from PIL import Image
from scipy.special import softmax

from kerasnas.datasets import load
from kerasnas.export import quantize, to_onnx

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


def tasks() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, list[float], str | None]]:
    """Return for each name 8-bit pictures to train on, their classes, those to test on, the model's range, and its end."""
    digits, fashion = load("digits"), load("fashion_mnist").take(6000)
    scale = lambda x: np.rint(np.asarray(x) * 255 / 16).astype(np.uint8)  # noqa: E731
    colours = np.random.default_rng(0).uniform(0.3, 1, (len(fashion.x_train) + len(fashion.x_test), 1, 1, 3))
    tint = lambda x, by: np.rint(x * by).astype(np.uint8)  # noqa: E731
    clothes = np.unique(fashion.y_train, return_inverse=True)[1]
    count = len(fashion.x_train)
    return {
        "digits": (scale(digits.x_train), np.asarray(digits.y_train), scale(digits.x_test), [0, 16], "softmax"),
        "fashion": (fashion.x_train, clothes, fashion.x_test, [0, 255], None),
        "fashion in colour": (
            tint(fashion.x_train, colours[:count]),
            clothes,
            tint(fashion.x_test, colours[count:]),
            [0, 255],
            "softmax",
        ),
    }


def train(x: np.ndarray, y: np.ndarray, low: float, high: float, end: str | None) -> keras.Model:
    """Return a small network that takes values from `low` to `high`."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:], name="image"),
            layers.Rescaling(1 / (high - low), offset=-low / (high - low)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation=end, name="scores"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=end is None)
    model.compile("adam", loss)
    model.fit(values(x, low, high), y, epochs=3, batch_size=64, verbose=0)
    return model


def values(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return what 8-bit pictures mean to the model."""
    return (low + x * ((high - low) / 255)).astype(np.float32)


def by_runner(python: Path, model: Path, pictures: list[Path]) -> list[dict[str, Any]]:
    """Return the lines of the runner."""
    command = [python, ROOT / "export" / "runner" / "classify.py", model, *pictures, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_page(model: Path, pictures: list[Path]) -> list[dict[str, Any]]:
    """Return what the page shows of each picture."""
    steps = [{"model": str(model)}, *({"picture": str(picture)} for picture in pictures)]
    job = json.dumps({"root": str(ROOT / "export" / "web"), "chromium": CHROMIUM, "steps": steps})
    driver = ROOT / "export" / "tests" / "chromium.mjs"
    done = subprocess.run(["node", driver], input=job, capture_output=True, text=True, check=True)
    return [shown["row"] for shown in json.loads(done.stdout)["seen"][2:]]


def compare(rows: list[dict[str, Any]], expected: np.ndarray, labels: list[str]) -> tuple[int, float]:
    """Return how many labels agree and the largest difference of a probability."""
    found = np.array([[row["probabilities"][label] for label in labels] for row in rows])
    same = sum(row["label"] == labels[best] for row, best in zip(rows, expected.argmax(axis=1), strict=True))
    return same, float(np.abs(found - expected).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-edge" / "bin" / "python", help="of the runner")
    options = parser.parse_args()
    for what in (options.python, ROOT / "export" / "web" / "node_modules" / "playwright-core", Path(CHROMIUM or "chromium")):
        if not what.exists():
            raise SystemExit(f"{what} is missing; run make test-edge first, install Chromium or give its path in CHROMIUM.")
    n = options.pictures
    print("| file | pictures | runner: labels | difference | page: labels | difference | resized: labels | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (x, y, test, (low, high), end) in tasks().items():
        model = train(x, y, low, high, end)
        labels = [f"class {number}" for number in range(10)]
        with tempfile.TemporaryDirectory() as folder:
            native, large = [], []
            for number, pixels in enumerate(test[:n]):
                picture = Image.fromarray(pixels.squeeze())
                native.append(Path(folder) / f"{number:04}.png")
                picture.save(native[-1])
                large.append(Path(folder) / f"{number:04}-large.png")
                picture.rotate(7 + number, Image.Resampling.BICUBIC, expand=True).resize((91, 75)).save(large[-1])
            said = {"input": "raw pixels", "range": [low, high]}
            file = to_onnx(model, Path(folder) / "model.onnx", labels=labels, preprocessing=said)
            inputs = values(test[:n], low, high)
            answers = model.predict(inputs, verbose=0)
            made = quantize(file, values(x[:200], low, high), goal="size", formats=["U8U8"], rounds=1, max_loss=1)
            session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
            (eighths,) = session.run(None, {"image": inputs})
            for path, title, expected in ((file.path, name, answers), (made.path, f"{name}, {made.chosen.name}", eighths)):
                expected = softmax(expected, axis=1) if end is None else expected
                runner, page = by_runner(options.python, path, native), by_page(path, native)
                resized, shown = by_runner(options.python, path, large), by_page(path, large)
                other = np.array([[row["probabilities"][label] for label in labels] for row in resized])
                cells = [compare(runner, expected, labels), compare(page, expected, labels), compare(shown, other, labels)]
                print(f"| {title} | {n} |" + "".join(f" {same} | {worst:.1e} |" for same, worst in cells), flush=True)


if __name__ == "__main__":
    main()

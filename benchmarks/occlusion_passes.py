"""What the passes of `kerasnas.explain.occlusion` bring: how far its maps are to be trusted after one, two, ... of them.

    python benchmarks/occlusion_passes.py

One pass gives each pixel the mean drop of the patches that cover it; each further one brings the means of the map over the
patches nearer to their drops. A CNN of three convolutions is trained on 8,000 pictures for four epochs. Deletion, insertion and
muFidelity are means over 48 test pictures; so is the correlation of the map with that of the picture with a little noise, 2 %
of its range.
"""

import importlib
from unittest.mock import patch

import keras
import numpy as np
from image_search import data

from kerasnas.explain import occlusion
from kerasnas.explain.model.faithfulness import faithfulness
from kerasnas.explain.model.score_view import ScoreView

TASKS = {"fashion": "Fashion-MNIST", "cifar10": "CIFAR-10"}
PASSES = (1, 2, 3, 5, 10, 20, 50)
PICTURES = 48


def trained(x: np.ndarray, y: np.ndarray) -> keras.Model:
    """Return a small network that has learned a little."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [keras.Input(x.shape[1:]), layers.Rescaling(1 / 255)]
    for width in (16, 32, 64):
        stack += [layers.Conv2D(width, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D()]
    model = keras.Sequential([*stack[:-1], layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=4, batch_size=64, verbose=0)
    return model


def main() -> None:
    module = importlib.import_module("kerasnas.explain.model.occlusion")
    print("| data | passes | deletion | insertion | muFidelity | with noise |")
    print("|---|---|---|---|---|---|")
    for name, task in TASKS.items():
        (x, y), _, (tests, _) = data(name, 10_000, 0)
        model = trained(x, y)
        pictures = tests[:PICTURES]
        guesses = model.predict(pictures, verbose=0).argmax(axis=1)
        noisy = pictures + np.random.default_rng(0).normal(0, 5, pictures.shape).astype(np.float32)
        maps, alike = [], []
        for passes in PASSES:
            with patch.object(module, "_PASSES", passes):
                one, other = (occlusion(model, x, target=guesses).values for x in (pictures, noisy))
            maps.append(one)
            alike.append(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one, other, strict=True)]))
        judged = faithfulness(ScoreView(model, pictures), np.stack(maps), guesses, seed=1)
        figures = np.stack([judged.deletion, judged.insertion, judged.mu_fidelity]).mean(axis=2)
        for passes, row, correlation in zip(PASSES, figures.T, alike, strict=True):
            print(f"| {task} | {passes} | {' | '.join(f'{figure:.3f}' for figure in row)} | {correlation:.3f} |")


if __name__ == "__main__":
    main()

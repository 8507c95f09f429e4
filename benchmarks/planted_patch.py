"""How well maps find what a network looks at, where that is known.

    python benchmarks/planted_patch.py --networks 3
    python benchmarks/planted_patch.py --networks 3 --xplique xplique-venv/bin/python

Images of 32x32 pixels of coloured noise hold one of four textures of 8x8 pixels, which is the class, at a random place (a
multiple of 4 pixels), and a red square that means nothing. A small CNN learns to tell the classes. Of each map the table tells:
pointing (the largest value lies on the texture), rank (share of the 64 largest values that do), mass (share of the sum of the
positive values), deletion, insertion and muFidelity as `kerasnas.explain.trust` measures them, and the rank correlation with
the map of the same network with random weights; all are means over images and networks. Beside the maps of kerasnas stand those
of tf-explain as it comes, random ones, a spot in the centre, the mask itself, and, in a Python of its own, those of Xplique:

    python -m venv xplique-venv
    xplique-venv/bin/pip install xplique 'tensorflow==2.18.*' 'keras<3.12'
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, PATCH, CLASSES = 32, 8, 5
NOTHING = CLASSES - 1  # the class of pictures without a texture
NOISE = 0.05
IN_PIXELS = ", pixels of 0 to 255"
FIGURES = ("pointing", "rank", "mass", "deletion", "insertion", "muFidelity", "random weights")


def planted(
    count: int, rng: np.random.Generator, noise: float = NOISE, classes: int = CLASSES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images in [0, 1], their classes, and where the texture of each lies; those of the last class have none.

    Without that class a network may know one of the textures by the absence of the others, and a picture of nothing is then one
    of it with high confidence: what its score rests on is not the place of the texture.
    """
    rows, columns = np.indices((PATCH, PATCH))
    textures = [rows % 2, columns % 2, (rows + columns) % 2, (rows // 2 + columns // 2) % 2]
    images = rng.normal(0.5, noise, (count, SIDE, SIDE, 3))
    labels, masks = rng.integers(0, classes, count), np.zeros((count, SIDE, SIDE), bool)
    for index, label in enumerate(labels):
        (top, left), (other_top, other_left) = _places(rng)
        images[index, other_top : other_top + PATCH, other_left : other_left + PATCH] = (0.9, 0.1, 0.1)
        if label == NOTHING:
            continue
        place = np.s_[index, top : top + PATCH, left : left + PATCH]
        images[place] = 0.15 + 0.7 * textures[label][..., None]
        masks[place] = True
    return np.clip(images, 0, 1).astype(np.float32), labels, masks


def _places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    while True:
        one, other = 4 * rng.integers(0, (SIDE - PATCH) // 4 + 1, (2, 2))
        if np.any(np.abs(one - other) >= PATCH):
            return one, other


def network(head: str) -> Any:
    """Return a CNN of three convolutions."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="last"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, activation=head),
        ]
    )


def trained(seed: int, noise: float = NOISE) -> Any:
    """Return a network that tells the textures apart."""
    import keras

    keras.utils.set_random_seed(seed)
    model = network("softmax")
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y, _ = planted(4000, np.random.default_rng(seed + 1), noise)
    model.fit(x, y, epochs=12, batch_size=32, verbose=0)
    return model


def ours(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    from kerasnas import explain

    methods: dict[str, Callable[[], Any]] = {
        "Grad-CAM": lambda: explain.grad_cam(model, x, target=y),
        "Grad-CAM++": lambda: explain.grad_cam_plus_plus(model, x, target=y),
        "occlusion": lambda: explain.occlusion(model, x, target=y),
        "RISE (1000 masks)": lambda: explain.rise(model, x, target=y),
        "integrated gradients": lambda: explain.integrated_gradients(model, x, target=y),
        "SmoothGrad": lambda: explain.smooth_grad(model, x, target=y),
        "gradient x input": lambda: explain.gradient_x_input(model, x, target=y),
        "vanilla gradients": lambda: explain.vanilla_gradients(model, x, target=y),
    }
    return {f"kerasnas {name}": make() for name, make in methods.items()}


def as_shipped(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Return what tf-explain gives, its pictures turned into numbers: the brightness of the coloured map without the image."""
    import keras
    import tensorflow as tf
    from tf_explain.core.grad_cam import GradCAM
    from tf_explain.core.integrated_gradients import IntegratedGradients
    from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
    from tf_explain.core.smoothgrad import SmoothGrad

    functional = keras.Model(model.inputs, model.outputs[0])
    # tf-explain hides by 127.5 in whatever units: in the row "in pixels" the same network takes what it was made for.
    in_pixels = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Rescaling(1 / 255), functional])
    cam, hidden, hidden_in_pixels, integrated, smooth = [], [], [], [], []
    keras.config.disable_interactive_logging()
    for image, label in zip(x, y, strict=True):
        maps, gradients = GradCAM.get_gradients_and_filters(functional, image[None], "last", int(label), True)
        low = np.asarray(GradCAM.generate_ponderated_output(maps, gradients)[0])
        cam.append(tf.image.resize(low[..., None], (SIDE, SIDE)).numpy()[..., 0])
        for kept, shown, pixels in ((hidden, functional, image), (hidden_in_pixels, in_pixels, 255 * image)):
            rough = OcclusionSensitivity().get_sensitivity_map(shown, pixels, int(label), 4)
            kept.append(tf.image.resize(np.asarray(rough)[..., None], (SIDE, SIDE), method="nearest").numpy()[..., 0])
        integrated.append(IntegratedGradients().explain((image[None], None), functional, int(label), 32))
        smooth.append(SmoothGrad().explain((image[None], None), functional, int(label), 50, 0.2))
    found = {"Grad-CAM": cam, "occlusion": hidden, f"occlusion{IN_PIXELS}": hidden_in_pixels}
    found |= {"integrated gradients": integrated, "SmoothGrad": smooth}
    return {f"tf-explain {name}": np.asarray(maps, np.float32) for name, maps in found.items()}


def of_xplique(folder: Path) -> None:
    """Explain what lies in `folder` with Xplique, in its own Python."""
    import tensorflow as tf
    from xplique.attributions import GradCAM, IntegratedGradients, Occlusion, Rise, SmoothGrad

    data, inner = np.load(folder / "images.npz"), network("linear")
    inner.set_weights([data[f"weight_{i}"] for i in range(len(inner.weights))])
    x, target = data["x"], tf.one_hot(data["y"], CLASSES)
    methods = {
        "Grad-CAM": GradCAM(inner, conv_layer="last"),
        "occlusion": Occlusion(inner, patch_size=4, patch_stride=2, occlusion_value=0.5),
        "RISE (1000 masks)": Rise(inner, nb_samples=1000),
        "integrated gradients": IntegratedGradients(inner, steps=32),
        "SmoothGrad": SmoothGrad(inner, nb_samples=50),
    }
    maps = {name: np.asarray(method(x, target)).reshape(len(x), SIDE, SIDE, -1).mean(-1) for name, method in methods.items()}
    np.savez(folder / "maps.npz", **maps)


def located(values: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pointing, rank and mass of each image."""
    flat, inside = values.reshape(len(values), -1).astype(np.float64), masks.reshape(len(masks), -1)
    pointing = inside[np.arange(len(flat)), flat.argmax(axis=1)]
    size = PATCH * PATCH
    best = np.argpartition(-flat, size, axis=1)[:, :size]
    rank = np.take_along_axis(inside, best, axis=1).mean(axis=1)
    positive = np.maximum(flat, 0)
    mass = (positive * inside).sum(axis=1) / np.maximum(positive.sum(axis=1), 1e-12)
    return pointing.astype(float), rank, mass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--noise", type=float, default=NOISE, help="standard deviation of the images")
    parser.add_argument("--networks", type=int, default=1, help="networks to train, each with images of its own")
    parser.add_argument("--seed", type=int, default=0, help="of the first network")
    parser.add_argument("--xplique", help="a Python that has Xplique")
    parser.add_argument("--explain-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.explain_in:
        of_xplique(options.explain_in)
        return
    found = [
        measured(seed, options.images, options.noise, options.xplique)
        for seed in range(options.seed, options.seed + options.networks)
    ]
    all_images = {name: np.concatenate([figures[name] for figures in found], axis=1) for name in found[0]}
    print(f"| map | {' | '.join(FIGURES)} |")
    print("|---|---|---|---|---|---|---|---|")
    for name, figures in all_images.items():
        print(f"| {name} | {' | '.join('' if np.isnan(figure) else f'{figure:.2f}' for figure in figures.mean(axis=1))} |")
    print("\nkerasnas less the other, image by image, ± 95 %; * better, ! worse")
    print(f"| map | {' | '.join(FIGURES[:-1])} |")
    print("|---|---|---|---|---|---|---|")
    for name, figures in all_images.items():
        library, _, method = name.partition(" ")
        if library in ("tf-explain", "Xplique"):
            gains = (all_images[f"kerasnas {method.removesuffix(IN_PIXELS)}"] - figures)[:-1]
            print(f"| {name} | {' | '.join(map(_difference, gains, FIGURES))} |")


def _difference(gains: np.ndarray, figure: str) -> str:
    mean, half = gains.mean(), 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    better = (mean < 0) == (figure == "deletion")  # of deletion less is better
    return f"{mean:+.3f} ± {half:.3f}{'' if abs(mean) <= half else '*' if better else '!'}"


def measured(seed: int, images: int, noise: float, xplique: str | None) -> dict[str, np.ndarray]:
    """Train one network, and return the seven figures of each map, shape (7, images)."""
    from kerasnas.explain.model.faithfulness import faithfulness
    from kerasnas.explain.model.randomisation import map_correlation, randomised
    from kerasnas.explain.model.score_view import ScoreView

    model = trained(seed, noise)
    x, y, masks = planted(images, np.random.default_rng(seed + 2), noise, NOTHING)
    accuracy = float(np.mean(model.predict(x, verbose=0).argmax(axis=1) == y))
    print(f"network {seed}: accuracy on {len(x)} images {accuracy:.3f}", file=sys.stderr)
    rng = np.random.default_rng(seed)
    attributions = ours(model, x, y)
    maps: dict[str, np.ndarray] = {
        "random": rng.random(masks.shape),
        "a spot in the centre": np.broadcast_to(
            np.exp(-np.add.outer(np.linspace(-2, 2, SIDE) ** 2, np.linspace(-2, 2, SIDE) ** 2) / 2), masks.shape
        ),
        "the mask itself": masks.astype(np.float64),
        **{name: attribution.values for name, attribution in attributions.items()},
        **as_shipped(model, x, y),
    }
    if xplique:
        with tempfile.TemporaryDirectory() as folder:
            weights = {f"weight_{i}": weight for i, weight in enumerate(model.get_weights())}
            np.savez(Path(folder, "images.npz"), x=x, y=y, **weights)  # a .keras file is not read by an older Keras
            subprocess.run([xplique, __file__, "--explain-in", folder], check=True)
            maps |= {f"Xplique {name}": values for name, values in np.load(Path(folder, "maps.npz")).items()}
    judged = faithfulness(ScoreView(model, x), np.stack(list(maps.values())), y)
    stranger = randomised(model, seed)
    figures = {}
    for index, (name, values) in enumerate(maps.items()):
        again = np.full(images, np.nan)
        if name in attributions:
            other = attributions[name].explained.again(stranger, x, target=y)
            again = map_correlation(values, other.values)
        faithful = (f[index] for f in (judged.deletion, judged.insertion, judged.mu_fidelity))
        figures[name] = np.array([*located(values, masks), *faithful, again])
    return figures


if __name__ == "__main__":
    main()

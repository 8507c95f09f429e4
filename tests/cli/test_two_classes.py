"""A network of one sigmoid on the command line: its two classes judge its files, as those of several columns do."""

from types import SimpleNamespace

import keras
import numpy as np

import kerasnas.export
from kerasnas.cli import export
from kerasnas.cli.run_folder import Run


def test_files_of_fewer_bits_are_judged_by_labels(tmp_path, monkeypatch):
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1)).astype("uint8")
    y = np.where(x.mean(axis=(1, 2, 3)) > 128, "light", "dark")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    net = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    net.save(tmp_path / "net.keras")
    run = Run.open(tmp_path / "net.keras", data=str(tmp_path / "data.npz"), image_size=None, out=None)
    asked = {}

    def quantize(file, x, *, y, **_):
        asked["quantize"] = (x, y)
        return SimpleNamespace(chosen=SimpleNamespace(name="float32"), reason="")

    monkeypatch.setattr(kerasnas.export, "quantize", quantize)
    monkeypatch.setattr(kerasnas.export, "to_litert", lambda _, path, *, x, y, **more: asked.update(to_litert=(x, y)))
    (variant,) = run.variants()
    export._quantize(run, export.Exported(variant, tmp_path / "net.onnx", {}), "size")
    export._to_litert(run, variant, "int8")
    assert set(asked) == {"quantize", "to_litert"}
    for pictures, labels in asked.values():
        np.testing.assert_array_equal(labels, pictures.mean(axis=(1, 2, 3)) > 128)

"""Explanations made again in their folder: what is told of is what was written, and what is there belongs together."""

import json

import keras
import numpy as np

import kerasnas.cli.explain
import kerasnas.explain
from kerasnas.cli import main
from kerasnas.explain import Attribution


def test_maps_of_earlier_explanations_go_and_only_what_was_written_is_told(tmp_path, capsys, monkeypatch):
    inside = {"layers.png", "places.png"}

    def look(*arguments):
        for name in inside:
            (arguments[-1] / name).touch()
        return sorted(inside)

    def maps(_, images, methods, trust):
        for method in methods:
            yield (
                Attribution(np.random.default_rng(0).random(images.shape[:3]), images, np.zeros(len(images), int), method),
                None,
            )

    monkeypatch.setattr(kerasnas.cli.explain, "_look_inside", look)
    monkeypatch.setattr(kerasnas.cli.explain, "_maps", maps)
    monkeypatch.setattr(kerasnas.explain, "interpretability", lambda *_, **__: {})
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    network.save(tmp_path / "net.keras")
    command = ["explain", str(tmp_path / "net.keras"), "--data", "digits"]
    folder = tmp_path / "explanations"
    assert main([*command, "--images", "3", "--method", "occlusion", "--method", "integrated_gradients"]) == 0
    assert "integrated_gradients.png" in capsys.readouterr().out
    assert (folder / "02-integrated_gradients.png").is_file()
    for name in ("02-notes.png", "regions.png"):
        (folder / name).write_text("of another hand, or of an earlier command")
    assert main([*command, "--images", "2", "--method", "occlusion"]) == 0
    said = "explanations.json, layers.png, measures.json, occlusion.png, places.png, trust.json"
    assert f"wrote {said} in {folder}\n" in capsys.readouterr().out
    entries = json.loads((folder / "explanations.json").read_text())["pictures"]
    single = {name for entry in entries for name in entry["files"].values()}
    assert len(single) == 4
    assert {path.name for path in folder.iterdir()} == {*said.split(", "), *single, "02-notes.png", "regions.png"}

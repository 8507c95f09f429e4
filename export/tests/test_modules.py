"""The page's own arithmetic, run by node: what Pillow, onnx and the runner make of the same."""

import json
import shutil
import subprocess
from pathlib import Path

import classify
import numpy as np
import onnx
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="node is not here: the page's modules are not tested")


def in_node(**job):
    command = ["node", Path(__file__).with_name("in_node.mjs")]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pictures_are_resized_as_pillow_does_it_to_the_bit(write_model):
    classifier, rng = classify.Classifier(write_model(np.zeros((16, 3)))), np.random.default_rng(0)
    jobs, expected = [], []
    for number in range(200):
        width, height, new_width, new_height = map(int, rng.integers(1, 41, 4))
        channels = (1, 3)[number % 2]
        if number % 10 == 0:
            new_width = width  # one axis only
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        jobs.append({"data": pixels.ravel().tolist(), "width": width, "height": height, "channels": channels})
        jobs[-1]["to"] = [new_width, new_height]
        classifier.width, classifier.height = new_width, new_height
        expected.append(np.asarray(classifier.fit(picture)).ravel().tolist())
    assert in_node(pictures=jobs)["pictures"] == expected


def test_colours_become_grey_as_in_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5000, 3), dtype=np.uint8)
    rgba = np.concatenate([pixels, np.full((1, 5000, 1), 255)], axis=-1)
    assert in_node(greys=[rgba.ravel().tolist()])["greys"] == [np.asarray(Image.fromarray(pixels).convert("L"))[0].tolist()]


def test_metadata_and_endings_are_read_from_the_file(write_model):
    ends = ("Softmax", "Sigmoid", None, "quantised", "mean", "by hand")
    said = {"labels": ["a", "ü\u2603", ""], "preprocessing": {"range": [0, 16]}, "quantization": {"format": "U8U8"}}
    files = [write_model(np.zeros((16, 3)), end=end, name=f"{end}.onnx", **said) for end in ends]
    found = in_node(models=list(map(str, files)))["models"]
    files.append(write_model(np.zeros((16, 1)), end=None, name="hard.onnx", threshold=0.5))
    files.append(write_model(np.zeros((16, 3)), end=None, name="several.onnx", ending="sigmoid"))
    found += in_node(models=list(map(str, files[-2:])))["models"]
    assert [end for _, end in found[-2:]] == ["sigmoid", "sigmoid"]
    for path, (metadata, end) in zip(files, found, strict=True):
        assert metadata == {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert end == classify.ending(path.read_bytes())
    assert len({end for _, end in found}) == 3


def test_the_rules_are_those_of_the_runner(write_model):
    ranges = [(0, 255), (3, 251), (0, 1), (0.1, 0.8), (-1, 1), (-0.4, 0.9), (0, 16), (-3, 4), (0, 65535), (0, 127), (0, 128)]
    assert in_node(ranges=ranges)["ranges"] == [list(classify.black_and_white(*one)) for one in ranges]
    rows = [
        ([0.2, 0.7, 0.1], "softmax"),
        ([3, -800, 900], "scores"),
        ([-2], "scores"),
        ([0.3], "sigmoid"),
        ([0.9, 0.8], "sigmoid"),
    ]
    classifier = classify.Classifier(write_model(np.zeros((16, 3))))
    for (row, end), found in zip(rows, in_node(answers=rows)["answers"], strict=True):
        classifier.ending = end
        np.testing.assert_allclose(found, classifier.probabilities(np.array([row], float))[0], atol=1e-12)
    cases = [
        (["a", "b"], 2),
        (["a", "a"], 2),
        (["a"], 1),
        (["a", "b"], 1),
        (["a"], 3),
        (None, 1),
        (None, 2),
        ("text", 2),
        ([1, 2], 2),
    ]
    for (said, columns), found in zip(cases, in_node(labels=[(json.dumps(s), c) for s, c in cases])["labels"], strict=True):
        classifier.metadata = {"labels": json.dumps(said)}
        assert found == classifier._labels(columns)

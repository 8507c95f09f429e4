"""The page in headless Chromium: the same answers as the runner, nothing from elsewhere, mistakes in a line."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from classify import Classifier, read_picture
from PIL import Image

WEB = Path(__file__).parents[1] / "web"
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
HERE = {
    "node": shutil.which("node"),
    "playwright-core (npm ci --prefix export/web)": (WEB / "node_modules" / "playwright-core").is_dir(),
    "Chromium (or its path in CHROMIUM)": CHROMIUM,
}
MISSING = [name for name, is_here in HERE.items() if not is_here]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the page is not tested, for here is no {' and no '.join(MISSING)}")

RNG = np.random.default_rng(1)


def drive(*steps, root=WEB):
    """Return what the page shows after each step; see chromium.mjs."""
    steps = [{key: str(value) if isinstance(value, Path) else value for key, value in step.items()} for step in steps]
    job = json.dumps({"root": str(root), "chromium": CHROMIUM, "steps": steps})
    command = ["node", Path(__file__).with_name("chromium.mjs")]
    done = subprocess.run(command, input=job, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_the_runner(model, path):
    classifier = Classifier(model)
    return classifier.probabilities(classifier.run(classifier.tensor(read_picture(path, classifier.channels))))[0]


def test_the_probabilities_of_the_runner(write_model, write_picture, random_pixels):
    labels = ["north", "east", "south", "west"]
    models = [
        write_model(
            RNG.normal(0, 0.5, (np.prod(shape), columns)),
            end=end,
            shape=shape,
            name=f"{number}.onnx",
            labels=labels[:columns],
            preprocessing={"range": said},
        )
        for number, (end, shape, columns, said) in enumerate(
            [
                ("Softmax", (9, 6, 1), 4, [0, 1]),
                (None, (5, 7, 3), 3, [-1, 1]),
                ("quantised", (8, 8), 4, [0, 16]),
                ("Sigmoid", (6, 6, 3), 1, [0.01, 0.99]),
            ]
        )
    ]
    pictures = [
        write_picture(random_pixels(9, 6), "native.png"),
        write_picture(random_pixels(5, 7, 3), "colour.png"),
        write_picture(random_pixels(90, 123, 3), "larger.png"),
        write_picture(random_pixels(3, 2), "smaller.bmp"),
        write_picture(Image.fromarray(random_pixels(20, 20, 3)).quantize(32), "palette.png"),
        write_picture(random_pixels(40, 30, 3) // 64 * 64, "without loss.webp", lossless=True),
    ]
    see_through, sideways = random_pixels(8, 8, 4), Image.Exif()
    see_through[..., 3] = see_through[..., 3] // 128 * 255
    sideways[274] = 6
    pictures += [
        write_picture(see_through, "see-through.png"),
        write_picture(Image.fromarray(random_pixels(2, 3, 3)).resize((40, 60)), "sideways.jpg", exif=sideways),
    ]
    steps = [step for model in models for step in ({"model": model}, *({"picture": picture} for picture in pictures))]
    seen = iter(drive(*steps)["seen"][1:])
    for model in models:
        next(seen)
        for picture in pictures:
            shown, expected = next(seen), by_the_runner(model, picture)
            assert shown["problem"] == ""
            row = shown["row"]
            atol = 0.02 if picture.suffix == ".jpg" else 1e-6  # two decoders may round otherwise
            np.testing.assert_allclose(list(row["probabilities"].values()), expected, atol=atol)
            assert row["label"] == Classifier(model).labels[expected.argmax()]


def test_what_a_web_server_needs_is_in_one_folder(write_model, write_picture, random_pixels, tmp_path):
    model = write_model(RNG.normal(0, 1, (16, 12)), labels=list("abcdefghijkl"), preprocessing={"range": [0, 1]})
    site = tmp_path / "site"
    subprocess.run(["node", WEB / "build.js", site, model], check=True, capture_output=True)
    picture = write_picture(random_pixels(4, 4))
    shown = drive({"picture": picture}, {"size": [400, 800]}, {"drop": picture}, root=site)
    assert shown["said"] == []
    assert all(address.startswith("/") for address in shown["asked"])
    at_start, wide, narrow, dropped = shown["seen"]
    assert at_start["title"] == "linear"
    assert at_start["facts"].startswith("4 \u00d7 4 pixels, grey · 12 classes · float32 · ")
    assert f" · {model.stat().st_size / 1000:.1f} kB" in at_start["facts"]
    chances = wide["row"]["probabilities"]
    assert list(chances.values()) == pytest.approx(by_the_runner(model, picture), abs=1e-6)
    assert [bar["name"] for bar in wide["bars"]] == sorted(chances, key=lambda label: -chances[label])[:10]
    for bar in wide["bars"]:
        assert bar["filled"] == pytest.approx(chances[bar["name"]], abs=0.01)
        share = chances[bar["name"]]
        assert bar["share"] == ("< 0.1 %" if share < 0.0005 else f"{100 * share:.1f} %")
    assert not any(one["overflows"] for one in shown["seen"])
    assert narrow["row"] == wide["row"]
    assert dropped["row"]["probabilities"] == chances


def test_a_site_without_its_model_is_not_begun(tmp_path):
    done = subprocess.run(["node", WEB / "build.js", tmp_path / "site", tmp_path / "no.onnx"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'no.onnx'} is missing\n"
    assert not (tmp_path / "site").exists()


def test_a_drawing_and_other_pixel_values(write_model):
    # The class is the half that is brighter, by 6 times the difference of the means.
    side = np.indices((8, 8))[1].ravel() // 4
    model = write_model(np.stack([side == 0, side == 1], -1) * 6 / 32, shape=(8, 8, 1), labels=["left", "right"])
    line = [[0.75, 0.1 + 0.05 * step] for step in range(17)]
    seen = drive({"model": model}, {"draw": line}, {"range": "0 1"}, {"range": "-1 1"}, {"invert": True}, {"draw": line})[
        "seen"
    ]
    _, loaded, raw, drawn, wider, cleared, dark = seen
    assert loaded["label"] == ""
    assert raw["row"]["probability"] == pytest.approx(1)  # 0 to 255, since the file does not say
    assert drawn["label"] == "right"
    assert 0.6 < drawn["row"]["probability"] < 0.97  # a line of a tenth of the width: near sigmoid(6 * 0.16)
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    assert logit(wider["row"]["probability"]) == pytest.approx(2 * logit(drawn["row"]["probability"]), rel=1e-4)
    assert cleared["row"] is None
    assert dark["label"] == "left"


def test_mistakes_are_one_line_and_the_page_goes_on(write_model, write_picture, random_pixels, tmp_path):
    for name, content in (("no.onnx", b"no protobuf"), ("archive.onnx", b"PK\x03\x04"), ("no.png", b"no picture")):
        (tmp_path / name).write_bytes(content)
    wrong = write_model(np.zeros((32, 2)), shape=(4, 4, 2), name="wrong.onnx")
    good = write_model(np.zeros((16, 2)), name="good.onnx")
    picture = write_picture(random_pixels(4, 4))
    models = [{"model": tmp_path / "no.onnx"}, {"model": tmp_path / "archive.onnx"}, {"model": wrong}]
    shown = drive(*models, {"picture": picture}, {"model": good}, {"picture": tmp_path / "no.png"}, {"picture": picture})
    _, no, archive, channels, _, mended, unreadable, again = shown["seen"]
    assert no["problem"].startswith("no.onnx: not an ONNX file that onnxruntime-web can run")
    assert "kerasnas export" in archive["problem"]
    assert "1 or 3 channels, got image [batch,4,4,2] of float32" in channels["problem"]
    assert mended["problem"] == ""
    assert mended["row"]["probability"] == 0.5
    assert unreadable["problem"] == "no.png: not a picture that this browser can read"
    assert unreadable["row"] is None  # no answer beside a picture that is not its own
    assert again["problem"] == ""
    assert again["row"] is not None

"""The explained pictures: each kind of map stands beside how far it can be believed."""

import base64
import io
import json
import shutil

import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.report import write_report
from kerasnas.report.pictures import inner_pictures

UNMEASURED = "How far this map can be believed was not measured, and so it is not shown"
ATTACK = "<script>alert(1)</script>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="900"><script>alert(1)</script><text>conv</text></svg>'


def entry(verdict, text, *verdicts):
    return {"verdict": verdict, "text": text, "verdicts": list(verdicts), "chance": [0.01] * len(verdicts)}


@pytest.fixture
def explained(project, tmp_path):
    """Write a run folder with two explained pictures, and what is given as trust.json."""

    def write(trust=None, kinds=("grad_cam", "occlusion")):
        project(tmp_path / "search", scores=[0.5])
        folder = tmp_path / "explanations"
        folder.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
        pictures = []
        for i, predicted in enumerate(("cat", "dog")):
            files = {kind: f"{i:02d}-{kind}.png" for kind in ("picture", *kinds)}
            for name in files.values():
                (folder / name).write_bytes(buffer.getvalue())
            told = {"test_index": i, "label": "cat", "predicted": predicted, "probability": 0.75, "files": files}
            pictures.append(told)
        content = {"methods": {kind: {"layer": "conv_1"} for kind in kinds}, "pictures": pictures}
        (folder / "explanations.json").write_text(json.dumps(content))
        if trust is not None:
            (folder / "trust.json").write_text(json.dumps(trust))
        return tmp_path

    return write


def test_each_map_has_its_verdict_and_text(page_of, explained):
    trust = {
        "grad_cam": entry("faithful", "Faithful on 1 of 2 images: muFidelity 0.81.", "faithful", "weak"),
        "occlusion": entry("no better than chance", "No better than chance on 2 of 2 images.", *["no better than chance"] * 2),
    }
    page = page_of(explained(trust))
    assert "Grad-CAM : faithful . Faithful on 1 of 2 images: muFidelity 0.81." in page.words
    assert "Occlusion : no better than chance . No better than chance on 2 of 2 images." in page.words
    assert UNMEASURED not in page.words
    cards = page.words[page.words.index("cat right") :]
    assert "picture Grad-CAM faithful occlusion no better than chance" in cards
    assert "picture Grad-CAM weak occlusion no better than chance" in cards
    assert len([1 for tag, _ in page.tags if tag == "img"]) == 6


def test_a_map_that_marks_nothing_is_told_and_not_shown(page_of, explained):
    folder = explained({kind: entry("weak", "Weak on 2 of 2 images.", "weak", "weak") for kind in ("grad_cam", "occlusion")})
    file = folder / "explanations" / "explanations.json"
    content = json.loads(file.read_text())
    content["pictures"][1]["files"]["grad_cam"] = None
    file.write_text(json.dumps(content))
    page = page_of(folder)
    assert page.words.count("marks nothing Grad-CAM") == 1
    shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert "Grad-CAM of test picture 0" in shown
    assert "Grad-CAM of test picture 1" not in shown


@pytest.mark.parametrize("trust", [None, {}, {"grad_cam": entry("weak", "Weak on 2 of 2 images.", "weak", "weak")}])
def test_a_map_without_an_entry_is_told_to_be_unmeasured(page_of, explained, trust):
    page = page_of(explained(trust))
    words = page.words
    assert words.count(UNMEASURED) == (1 if trust else 2)
    assert f"Occlusion : {UNMEASURED}" in words
    shown = [attributes["alt"].split(" of ")[0] for tag, attributes in page.tags if tag == "img"]
    assert shown.count("Grad-CAM") == (2 if trust else 0)
    assert "occlusion" not in shown
    assert ("Weak on 2 of 2 images." in words) == bool(trust)


@pytest.mark.parametrize(
    "odd",
    [
        [1],
        "text",
        {"grad_cam": None, "occlusion": 3},
        {"grad_cam": {"verdict": 1, "text": "x"}},
        {"grad_cam": {"verdict": "weak"}},
    ],
)
def test_odd_files_are_no_measurement(page_of, explained, odd):
    assert page_of(explained(odd)).words.count(UNMEASURED) == 2


def test_verdicts_of_other_pictures_are_not_put_under_these(page_of, explained):
    told = {"grad_cam": entry("weak", "Weak on 3 of 3 images.", *["never shown"] * 3)}
    words = page_of(explained(told)).words
    assert "Weak on 3 of 3 images." in words
    assert "never shown" not in words


def test_other_methods_are_shown_by_their_names(page_of, explained):
    kinds = ("rise", "my_own_method")
    trust = {kind: entry("weak", "Weak on 2 of 2 images.", "weak", "weak") for kind in kinds}
    words = page_of(explained(trust, kinds=kinds)).words
    assert "RISE: how high the score is" in words
    assert "picture RISE weak my own method weak" in words
    assert "My own method" in words
    assert "Grad-CAM" not in words


def test_trust_is_text_only(page_of, explained):
    page = page_of(explained({"grad_cam": entry(ATTACK, ATTACK, ATTACK, ATTACK)}))
    assert page.words.count(ATTACK) == 4


def test_the_structure_is_a_picture_whose_scripts_do_not_run(page_of, project, tmp_path):
    project(tmp_path / "search", scores=[0.5])
    assert "as a drawing" not in page_of(tmp_path).words
    (tmp_path / "explanations").mkdir()
    (tmp_path / "explanations" / "structure.svg").write_text(SVG, encoding="utf-8")
    page = page_of(tmp_path)  # without a <script>
    assert "The structure of the network: where parameters, operations and time go" in page.words
    (drawing,) = [attributes for tag, attributes in page.tags if tag == "img"]
    kind, _, content = drawing["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(content).decode() == SVG
    (tmp_path / "explanations" / "confusion.png").write_bytes(b"png")
    assert [one["alt"] for tag, one in page_of(tmp_path).tags if tag == "img"] == [
        "The structure of the network: where parameters, operations and time go",
        "What it takes for what, and its most confident mistakes",
    ]
    place = [tag for tag, _ in page.tags].index("img")
    assert "details" in [tag for tag, _ in page.tags[:place]][-4:]


def test_a_folder_without_a_search_has_a_page_of_its_network(page_of, explained, tmp_path):
    folder = explained({"grad_cam": entry("faithful", "Faithful on 2 of 2 images.", "faithful", "faithful")})
    shutil.rmtree(folder / "search")
    page = page_of(folder)
    assert "There is no search in this folder" in page.words
    assert "Faithful on 2 of 2 images." in page.words
    assert "All trials" not in page.words
    with pytest.raises(InvalidArgument, match="or a folder that `kerasnas explain`"):
        write_report(tmp_path / "explanations")


def test_the_page_says_why_no_layer_is_left_out(tmp_path):
    (tmp_path / "explanations").mkdir()
    (tmp_path / "explanations" / "structure.svg").write_text(SVG, encoding="utf-8")
    assert "the same for each and tells nothing" in inner_pictures(tmp_path)[0]["note"]
    (tmp_path / "explanations" / "layers.png").write_bytes(b"")
    assert "the same for each and tells nothing" not in inner_pictures(tmp_path)[0]["note"]


@pytest.mark.parametrize(
    ("baseline", "told"),
    [("mean", "neutral picture, each channel at its mean over the picture"), (0.0, "neutral picture, all of it 0.0")],
)
def test_the_neutral_picture_is_the_one_that_was_taken(page_of, explained, baseline, told):
    folder = explained(None, kinds=("integrated_gradients",))
    file = folder / "explanations" / "explanations.json"
    content = json.loads(file.read_text())
    content["methods"]["integrated_gradients"] = {"baseline": baseline}
    file.write_text(json.dumps(content))
    assert told in page_of(folder).words
    assert "empty picture" not in page_of(folder).words

"""A search on a folder of pictures, run once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerasnas.cli import main


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> Path:
    """Sixty pictures of a bright square on the left or on the right."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("squares")
    for i in range(60):
        pixels = rng.integers(0, 60, (12, 12)).astype("uint8")
        side = i % 2
        pixels[4:8, 6 * side + 1 : 6 * side + 5] = 220
        file = folder / ("left", "right")[side] / f"{i:02d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(file)
    return folder


@pytest.fixture(scope="session")
def search(squares, tmp_path_factory) -> list[str]:
    """The arguments of a search that has been run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["search", str(squares), "--out", str(out), "--max-trials", "2", "--epochs", "2", "--space", "tiny", "--quiet"]
    assert main(arguments) == 0
    return arguments


@pytest.fixture
def run(search) -> Path:
    return Path(search[3])

"""A PNG file, written whole or not at all."""

import os
from pathlib import Path
from typing import Any

from PIL import Image

from kerasnas.atomic import atomic_path
from kerasnas.errors import InvalidArgument

__all__ = ["png_path", "write_png"]


def png_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that ends in .png.

    Raises:
        InvalidArgument: if it does not.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InvalidArgument(f"Expected a path that ends in .png; came {str(path)!r}.")
    return path


def write_png(path: str | os.PathLike[str], picture: Any) -> Path:
    """Write a Pillow image or a matplotlib figure; a file that is there is replaced as a whole.

    Returns:
        The path.

    Raises:
        InvalidArgument: if `path` does not end in .png.
    """
    path = png_path(path)
    with atomic_path(path) as draft:
        if isinstance(picture, Image.Image):
            picture.save(draft, format="PNG")
        else:
            picture.savefig(draft, format="png")
    return path

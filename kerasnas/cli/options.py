"""Arguments that several sub-commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["LITERT", "data_option", "image_size_option", "model_argument", "out_option"]

LITERT = ("float32", "float16", "int8", "int16")  # formats of a .tflite file

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

model_argument: Decorator = click.argument("model", type=click.Path(exists=True, path_type=Path))
data_option: Decorator = click.option(
    "--data",
    help="digits, fashion_mnist, cifar10, a folder with one sub-folder of pictures per class, or an .npz file. "
    "A run folder remembers its own.",
)
image_size_option: Decorator = click.option(
    "--image-size", type=click.IntRange(1), nargs=2, metavar="HEIGHT WIDTH", help="Resize the pictures of a folder."
)
out_option: Decorator = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the results; the run folder by default."
)

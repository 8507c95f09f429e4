"""A `.keras` file, read with an error that names it."""

import os
import zipfile

import keras

from kerasnas.errors import InvalidArgument

__all__ = ["load_model"]


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Load a `.keras` file.

    Raises:
        InvalidArgument: if it is none, or needs a class of its own that is not registered.
    """
    if not os.path.exists(path):
        raise InvalidArgument(f"{path} cannot be loaded as a Keras 3 model: there is no such file.")
    if os.path.isfile(path) and not zipfile.is_zipfile(path):
        raise InvalidArgument(f"{path} cannot be loaded as a Keras 3 model: it is no (zip) file of model.save('name.keras').")
    try:
        return keras.models.load_model(path)
    except (ValueError, TypeError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgument(f"{path} cannot be loaded as a Keras 3 model: {error}") from error

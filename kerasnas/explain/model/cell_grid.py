"""A grid of cells laid over an image: the parts that are hidden or shown together."""

import numpy as np

from kerasnas.explain.model.whole_number import require_whole_number

__all__ = ["cell_grid"]


def cell_grid(height: int, width: int, cells: int) -> np.ndarray:
    """Return the number of the cell that each pixel lies in, row by row from 0 to cells**2 - 1; shape (height, width).

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        cells: along each side, at least 1 and at most the smaller side.

    Raises:
        InvalidArgument: if `cells` is not as above.

    Example:
        >>> cell_grid(2, 4, 2).tolist()
        [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    require_whole_number("cells", cells, 1, min(height, width))
    return np.asarray((np.arange(height) * cells // height)[:, None] * cells + np.arange(width) * cells // width)

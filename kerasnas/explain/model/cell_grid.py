"""A grid of cells laid over an image: the parts that are hidden or shown together."""

import numpy as np

from kerasnas.explain.whole_number import require_whole_number

__all__ = ["cell_grid"]


def cell_grid(height: int, width: int, cells: int | tuple[int, int]) -> np.ndarray:
    """Return the number of the cell that each pixel lies in, row by row from 0; shape (height, width).

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        cells: along each side, at least 1 and at most the smaller side; or (down, across), each at most its own side.

    Raises:
        InvalidArgument: if `cells` is not as above.

    Example:
        >>> cell_grid(2, 4, 2).tolist()
        [[0, 0, 1, 1], [2, 2, 3, 3]]
        >>> cell_grid(2, 4, (1, 4)).tolist()
        [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    if isinstance(cells, tuple):
        down, across = cells
        require_whole_number("cells down", down, 1, height)
        require_whole_number("cells across", across, 1, width)
    else:
        require_whole_number("cells", cells, 1, min(height, width))
        down = across = cells
    return np.asarray((np.arange(height) * down // height)[:, None] * across + np.arange(width) * across // width)

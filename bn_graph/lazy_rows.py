"""Images that are gathered when they are asked for.

The float32 images of a training set are four times as large as its pixels. So they are never in memory together.
"""

import numpy as np

from bn_graph.config import NUM_FEATURES


class LazyRows:
    """Rows of images, to be read like an ndarray [rows, 784].

    An index of any kind that numpy knows gives an ndarray; np.asarray gives them all. Until then nothing is copied.

    Args:
        images: uint8 [any, 784], or `LazyRows`; or a list of such arrays, which count as one behind the other.
        rows: int64 [rows], which of the images these are, in this order.
        dtype: of the arrays that an index gives. Their pixels are 0 to 255.
    """

    def __init__(self, images, rows, dtype):
        if isinstance(images, LazyRows):
            images, rows = images._parts, images._rows[rows]
        self._parts = images if isinstance(images, list) else [images]
        self._rows = rows
        self.dtype = np.dtype(dtype)
        self.shape = (len(rows), NUM_FEATURES)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        if not isinstance(index, tuple):
            return self.pixels(index).astype(self.dtype, copy=False)
        match index:
            case (rows,):
                return self[rows]
            case (slice() as rows, *others):
                return self[rows][(slice(None), *others)]
            case (int() | np.integer() as row, *others):
                return self[row][tuple(others)]
        return self[:][index]  # numpy has many rules for several axes together

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)

    def pixels(self, index=slice(None)) -> np.ndarray:
        """What the index gives, as uint8."""
        indexed = self._rows[index]
        rows = np.ravel(indexed)
        if len(self._parts) == 1:
            pixels = self._parts[0][rows]
        else:
            pixels = np.empty((len(rows), NUM_FEATURES), np.uint8)
            start = 0
            for part in self._parts:
                in_part = (rows >= start) & (rows < start + len(part))
                pixels[in_part] = part[rows[in_part] - start]
                start += len(part)
        return pixels.reshape(*np.shape(indexed), NUM_FEATURES)

"""TODO."""

import numpy as np

from bn_graph.errors import InputError
from bn_graph.formats.digit_arrays import _PARTS, _checked, _first_line


def _openml():
    from sklearn.datasets import fetch_openml

    try:
        bunch = fetch_openml("mnist_784", version=1, as_frame=False, parser="liac-arff")
        # The labels come as text, '0' to '9'; the rows in LeCun's order, his 60 000 first.
        images, labels = np.asarray(bunch.data), np.asarray(bunch.target).astype(np.float64)
    except Exception as error:  # no network, OpenML down, a damaged cache: whatever it is, the user hears which
        raise InputError(f"openml: mnist_784 could not be fetched ({_first_line(error)})") from None
    if len(images) != 70000:
        raise InputError(f"openml: expected 70000 rows of mnist_784, found {len(images)}")
    arrays = images[:60000], labels[:60000], images[60000:], labels[60000:]
    return _checked(arrays, [f"openml: {name}" for name in _PARTS])

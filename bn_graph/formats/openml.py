"""The digits from OpenML: its data set mnist_784, which scikit-learn fetches and caches."""

import numpy as np

from bn_graph.errors import InputError, first_line
from bn_graph.formats.digit_arrays import PARTS, check_digits


def fetch_openml():
    """The 70 000 digits of mnist_784, as `check_digits` returns them. Raises `InputError`."""
    from sklearn import datasets  # here: importing it takes a second, which --help can spare

    try:
        bunch = datasets.fetch_openml("mnist_784", version=1, as_frame=False, parser="liac-arff")
        # The labels come as text, '0' to '9'; the rows in LeCun's order, his 60 000 first.
        images, labels = np.asarray(bunch.data), np.asarray(bunch.target).astype(np.float64)
    except Exception as error:  # no network, OpenML down, a damaged cache: the line says which
        raise InputError(f"openml: mnist_784 could not be fetched ({first_line(error)})") from None
    if len(images) != 70000:
        raise InputError(f"openml: expected 70000 rows of mnist_784, found {len(images)}")
    arrays = images[:60000], labels[:60000], images[60000:], labels[60000:]
    return check_digits(arrays, [f"openml: {name}" for name in PARTS])

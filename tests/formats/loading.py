"""What loading digits gives."""

import numpy as np
import pytest

from bn_graph.errors import InputError
from bn_graph.mnist import load_mnist


def assert_same(loaded, expected):
    data, target = expected
    assert loaded.data.dtype == np.uint8 and loaded.target.dtype == np.float64
    np.testing.assert_array_equal(loaded.data, data)
    np.testing.assert_array_equal(loaded.target, target)


def refusal(source):
    """The one line with which `source` is refused."""
    with pytest.raises(InputError) as raised:
        load_mnist(source)
    message = str(raised.value)
    assert message.splitlines() == [message]
    assert str(source) in message
    return message

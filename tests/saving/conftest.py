"""Fixtures of the tests of restoring and exporting."""

import numpy as np
import pytest

from tests.paths import REFERENCE


@pytest.fixture(scope="module")
def outputs():
    """Logits that TF 0.12.1 gave with the recorded checkpoint."""
    return np.load(REFERENCE / "checkpoint" / "notebook_outputs.npz")

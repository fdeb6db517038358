"""The recorded graphs, unpacked once for all tests of the audit."""

import json
import tarfile

import pytest

from tests.paths import REFERENCE


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The folder of the recorded graphs, and what should be found in each."""
    folder = tmp_path_factory.mktemp("audit")
    with tarfile.open(REFERENCE / "audit.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder, json.loads((folder / "expected.json").read_text())

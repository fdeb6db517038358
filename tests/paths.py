"""Where things are."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
REFERENCE = TESTS / "reference"
PACKAGED = ROOT / "bn_graph" / "comparison" / "reference"  # the recordings that the package carries

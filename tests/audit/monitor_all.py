"""What MovingStatisticsSession says of all recorded graphs: python -m tests.audit.monitor_all FOLDER

Those of TensorFlow 0.12.1, 1.4.1 and 1.15.0 are run, as far as today's TensorFlow runs them.
FOLDER has what is in tests/reference/audit.tar.xz. Prints the graphs of which it is wrong; exit code 1 if there is one.
"""

import json
import sys
from pathlib import Path

from tests.audit.test_monitor import RELEASES, judge_recorded

folder = Path(sys.argv[1])
expected = json.loads((folder / "expected.json").read_text())
graphs = {name: entry for name, entry in expected.items() if name.startswith(RELEASES)}
judged, idle, wrong = judge_recorded(folder, graphs)
for name, why in sorted(wrong.items()):
    print(f"{name}: {why}")
print(f"{judged} graphs run, {idle} of them idle, {len(wrong)} judged wrongly")
sys.exit(bool(wrong))

"""Prints the fixes of the recorded graphs as JSON, for tests.recording.advice: python -m tests.audit.advice FOLDER"""

import json
import sys
from pathlib import Path

from bn_graph.audit import audit_graph

folder = Path(sys.argv[1])
fixes = {}
for name, entry in json.loads((folder / "expected.json").read_text()).items():
    report = audit_graph(folder / name, train_op=entry["train_op"], num_steps=entry["num_steps"])
    for finding in report.findings:
        texts = fixes.setdefault(name, {}).setdefault(finding.rule, [])
        if finding.fix not in texts:
            texts.append(finding.fix)
print(json.dumps(fixes, indent=1))

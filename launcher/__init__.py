"""The launcher: finds or installs what a run needs, and hands over to Nextflow.

Standard library only, Python 3.11 or newer. It holds no science and no pipeline logic.

- ``host``: messages, cache folder, locks, running commands
- ``install``: Python environments, from lock files, by uv
- ``nextflow``: Java, the jars of Nextflow, the command line
- ``commands``: demo, run, stage, setup
- ``checks``: doctor, test
"""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
if str(PROJECT / "bin") not in sys.path:
    sys.path.insert(1, str(PROJECT / "bin"))

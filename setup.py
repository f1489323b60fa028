"""Only for a pip that is too old to read pyproject.toml, such as that of RHEL 8: say what to do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "daemon"))

import livepick  # ends with a sentence if this Python is too old

raise SystemExit(
    "livepick: this pip is too old to install livepick " + livepick.__version__ + "\n"
    "  Update it first: python3 -m pip install --upgrade pip"
)

"""livepick: particle picking while the microscope runs.

Any Python from 3.6 on can read this file, so that an old one can say what livepick needs.
"""

import os
import sys

__version__ = "0.1.0"

OLDEST_PYTHON = (3, 11)
"""Oldest supported Python, as ``requires-python`` of pyproject.toml."""

if sys.version_info < OLDEST_PYTHON:
    raise SystemExit(
        f"livepick: this is Python {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable}),"
        f" and livepick needs {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer\n"
        "  Install it with a newer Python; deploy/install.md says how on your system, without root."
    )

# onnxruntime sends events about its use to its maker, unless this is set before it is loaded. It is
# set here so that it holds for every process of livepick.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

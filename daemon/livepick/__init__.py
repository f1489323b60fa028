"""livepick: particle picking while the microscope runs."""

import os

__version__ = "0.1.0"

# onnxruntime sends events about its use to its maker, unless this is set before it is loaded. It is
# set here so that it holds for every process of livepick.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

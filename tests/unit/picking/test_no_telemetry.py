"""Nothing is sent to anybody, as SECURITY.md says."""

import os
import subprocess
import sys


def test_onnxruntime_neither_keeps_an_id_of_the_user_nor_sends_events(tmp_path):
    """By default, it makes an identifier and a database of events in the user's home."""
    removed = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    code = (
        "from livepick.models.general_model import SHIPPED\n"
        "from livepick.picking.model_check import probe\n"
        "probe(SHIPPED, 'cpu')"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment | {"HOME": str(tmp_path)}
    )
    assert list(tmp_path.rglob("*onnxruntime*")) == []

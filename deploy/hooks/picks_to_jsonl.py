#!/usr/bin/env python3
"""A skeleton for ``output.on_picked``: append one line for each picked micrograph to a file.

Replace ``deliver`` by what your facility needs, such as a request to ISPyB, EMhub or Murfey. Only
the standard library is needed. In livepick's config::

    output:
      on_picked: [/opt/livepick/deploy/hooks/picks_to_jsonl.py, /data/session42/picked.jsonl]
"""

import json
import os
import sys
from typing import Any


def deliver(picked: dict[str, Any], place: str) -> None:
    """Append the fields that a database of sessions wants, in one write."""
    line = json.dumps(
        {
            "micrograph": picked["micrograph"],
            "particles": picked["pick_count"],
            "diameter_angstrom": picked["diameter_angstrom"],
            "verdict": picked["verdict"],
            "model": f"{picked['model_kind']} {picked['model_version']}",
            "star": picked["coordinates"].get("relion"),
        }
    )
    file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def main() -> None:
    """Deliver final picks; those that a trained model will replace are passed over."""
    picked = json.load(sys.stdin)
    if picked["final"]:
        deliver(picked, sys.argv[1])


if __name__ == "__main__":
    main()

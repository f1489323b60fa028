"""The trainer process and its progress."""

import json
import subprocess
import sys
import textwrap

from trainer_programs import SLEEP

from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.trainer import Ended
from livepick.retraining.trainer_process import TrainerProcess


def test_an_orphaned_trainer_is_adopted(tmp_path):
    """It survives kill -9 of the service; the next service waits for it and can end it."""
    starter = f"""
        import os, signal, sys
        from pathlib import Path
        from livepick.retraining.trainer_process import TrainerProcess
        program = {textwrap.dedent(SLEEP)!r}
        TrainerProcess.start_or_adopt(Path({str(tmp_path)!r}), (sys.executable, "-c", program))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(starter)], check=False)

    adopted = TrainerProcess.start_or_adopt(tmp_path, ("/bin/false",))

    assert adopted.poll() is None
    assert adopted.pid == int((tmp_path / "lock").read_text())
    adopted.end()
    assert adopted.poll() == Ended(None)


def test_progress_is_read_as_it_grows(tmp_path, caplog):
    """An incomplete line is read later; one that a killed trainer left is skipped."""
    reader = ProgressReader(tmp_path)
    assert reader.new() == []
    line = json.dumps({"at": 1, "stage": "train", "note": "ü"}) + "\n"
    with (tmp_path / "progress.jsonl").open("wb") as file:
        file.write(line.encode()[:-5])
        file.flush()
        assert reader.new() == []
        file.write(line.encode()[-5:] + b'{"at": 2, "sta\n' + line.encode())
    assert [progress.note for progress in reader.new()] == ["ü", "ü"]
    assert "cannot be read" in caplog.text

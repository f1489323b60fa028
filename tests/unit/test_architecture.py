"""Directions that hold the program together, beyond what import-linter reads from the source."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from livepick.deployment.shipped_files import deploy_files

ROOT = Path(__file__).parents[2]
DAEMON = ROOT / "daemon" / "livepick"

HEAVY = {"distributed", "matplotlib", "onnx", "onnxruntime", "scipy", "torch"}
"""Each costs the main process tens of megabytes, torch hundreds."""


def _modules() -> list[str]:
    """Return the modules of the service that its main process imports."""
    names = []
    for path in sorted(DAEMON.rglob("*.py")):
        parts = path.relative_to(DAEMON.parent).with_suffix("").parts
        names.append(".".join(part for part in parts if part != "__init__"))
    # Only workers, the trainer, the simulated microscope and the other commands load these.
    others = (
        r"livepick\.(core|simulate|commands|particle\.(assumed_size|examples|measure)"
        r"|picking\.(worker|render|fit_ctf|model_check|onnx_(cuda|session)"
        r"|cluster\.(client|connection|node_questions|scheduler|security|worker_program)))\b"
    )
    return [name for name in names if not re.match(others, name)]


def test_the_main_process_loads_no_heavy_library() -> None:
    """Import every module of the service in a fresh interpreter and look what came along."""
    modules = [*_modules(), "livepick.commands.run"]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"common", "helpers", "manager", "misc", "tools", "utils"}
    paths = [*DAEMON.rglob("*.py"), *(ROOT / "trainer").rglob("*.py")]
    assert [path.name for path in paths if path.stem in empty] == []


@pytest.mark.slow
def test_a_wheel_holds_all_that_is_no_python(tmp_path: Path) -> None:
    """An editable installation would not notice a forgotten file."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        relative
        for root, package in ((ROOT / "daemon", "livepick"), (ROOT / "trainer", "livepick_trainer"))
        for path in (root / package).rglob("*")
        if path.is_file()
        and not re.search(r"(^|/)(\.|__pycache__)", relative := path.relative_to(root).as_posix())
    }
    assert sources - inside == set()
    assert "livepick/ledger/schema.sql" in inside
    assert any(name.startswith("livepick/web/templates/") for name in inside)
    assert "livepick_trainer/__main__.py" in inside
    shipped = {f"livepick/shipped/deploy/{name}" for name in deploy_files()}
    assert {*shipped, "livepick/shipped/config.example.yaml"} - inside == set()


@pytest.mark.parametrize("kind", ["unit", "acceptance"])
def test_test_files_have_names_of_their_own(kind: str) -> None:
    """Two of one name cannot be collected in one run, although each passes alone."""
    names = [path.name for path in (ROOT / "tests" / kind).rglob("test_*.py")]

    assert sorted(names) == sorted(set(names))


def test_the_service_of_an_instrument_is_small() -> None:
    """It loads neither numpy nor a library for micrographs: its sessions do."""
    code = (
        "import sys, livepick.commands.run, livepick.instrument.supervisor\n"
        f"print(sorted({HEAVY | {'numpy', 'mrcfile', 'sqlite3'}!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"

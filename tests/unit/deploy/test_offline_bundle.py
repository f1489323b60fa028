"""The offline bundle: its files and checksums, and what its install.sh refuses.

``tests/offline_bundle.sh`` makes a whole one and installs it without a network.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from bundle import make_bundle
from livepick import __version__

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="bundles are for Linux x86_64"
)

VERSION = "3.11"


@pytest.fixture
def folder(tmp_path):
    """Return an unpacked bundle; its only wheel is a text."""
    path = tmp_path / make_bundle.bundle_name(VERSION)
    (path / "wheels").mkdir(parents=True)
    (path / "wheels" / "some-1.0-py3-none-any.whl").write_text("a wheel\n")
    make_bundle.fill(path, extras="trainer,gpu", version=VERSION)
    return path


@pytest.fixture
def python(tmp_path):
    """Return a function that makes a Python of some versions; it only pretends to install."""

    def make(version=VERSION, sqlite="3.45.1", glibc="2.28", *, has_venv=True):
        program = tmp_path / f"python-{version}-{sqlite}-{glibc}"
        program.write_text(f"""#!/bin/sh
case "$*" in
    *sqlite_version*) echo {version} {sqlite} {glibc} ;;
    *ensurepip*) exit {0 if has_venv else 1} ;;
    "-m venv "*) mkdir -p "$3/bin"
        for name in python livepick; do
            printf '#!/bin/sh\\necho "%s $*" >>"$(dirname "$0")/calls"\\n' $name >"$3/bin/$name"
            chmod +x "$3/bin/$name"
        done ;;
esac
""")
        program.chmod(0o755)
        return program

    return make


def install(folder, *options):
    """Call install.sh; return its status, output and errors."""
    ran = subprocess.run(
        ["/bin/sh", folder / make_bundle.INSTALL, *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder.parent,
    )
    return ran.returncode, ran.stdout, ran.stderr


def test_a_bundle_holds_all_that_an_administrator_needs(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}

    assert {
        "SHA256SUMS", "install.sh", "constraints.txt", "config.example.yaml", "LICENSE",
        "deploy/livepick.service", "deploy/README.md", "deploy/install.md", "deploy/upkeep.md",
        "deploy/grafana/dashboards/session.json", "wheels/some-1.0-py3-none-any.whl",
    } <= names  # fmt: skip
    assert not any("observability" in name or "__pycache__" in name for name in names)
    assert "@" not in (folder / "install.sh").read_text().replace('"$@"', "")


def test_every_file_has_its_checksum(folder):
    """Coreutils checks them."""
    listed = {line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}

    assert listed == files - {"SHA256SUMS"}
    command = [shutil.which("sha256sum"), "--check", "--quiet", "SHA256SUMS"]
    subprocess.run(command, check=True, cwd=folder)


def test_the_tar_file_unpacks_to_one_folder(folder, tmp_path):
    """It belongs to root, and is not a pipe of compressed wheels."""
    target = tmp_path / "bundle.tar"

    make_bundle.pack(folder, target)

    with tarfile.open(target, "r:") as archive:
        members = archive.getmembers()
    assert {member.name.partition("/")[0] for member in members} == {folder.name}
    assert {(member.uid, member.uname) for member in members} == {(0, "root")}
    (script,) = [member for member in members if member.name.endswith("/install.sh")]
    assert script.mode & 0o111


def test_wheels_are_those_of_the_oldest_system(tmp_path):
    """Pip would take those of the machine that makes the bundle, whose glibc is newer."""
    command = make_bundle.download_command(
        tmp_path / "livepick.whl", tmp_path, extras="trainer", version="3.12", indexes=["https://i"]
    )
    words = " ".join(map(str, command))
    systems = [command[n + 1] for n, word in enumerate(command) if word == "--platform"]

    assert systems[0] == "manylinux_2_28_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64"} < set(systems)
    assert not any("2_3" in system for system in systems)
    assert "--only-binary :all:" in words
    assert "--python-version 3.12" in words
    assert "--abi cp312 --abi abi3 --abi none" in words
    assert f"--constraint {make_bundle.ROOT}/constraints.txt" in words
    assert "--extra-index-url https://i" in words
    assert words.endswith("livepick.whl[trainer]")


def test_installation_uses_the_bundle_alone(folder, python, tmp_path):
    """No index, no settings of pip, and the pinned versions."""
    status, said, faults = install(folder, "--python", python(), tmp_path / "prefix")

    assert (status, faults) == (0, "")
    pip, version = (tmp_path / "prefix" / "bin" / "calls").read_text().splitlines()
    assert pip.startswith("python -m pip --isolated install ")
    for word in (
        "--no-index", f"--find-links {folder}/wheels", "--constraint constraints.txt",
        f"livepick[trainer,gpu]=={__version__}",
    ):  # fmt: skip
        assert word in pip
    assert version == "livepick --version"
    assert f"{tmp_path}/prefix/bin/livepick setup session.yaml" in said
    assert said.count("\n  ") == 3
    assert said.startswith(f"livepick {__version__} for Python 3.11, picking and training on CPUs")


@pytest.mark.parametrize(
    ("wheel", "said"),
    [("nvidia_cudnn_cu13-9.whl", "on GPUs and CPUs\n"), ("torch-2+cpu.whl", "on CPUs (no CUDA")],
)
def test_a_bundle_knows_what_it_can_pick_on(folder, wheel, said):
    """By the CUDA libraries, which come with torch."""
    (folder / "wheels" / wheel).write_text("")

    assert said in f"on {make_bundle.device(folder / 'wheels')}\n"


def test_extras_and_a_relative_prefix_are_taken(folder, python, tmp_path):
    status, _, _ = install(folder, "--extras", "trainer", "--python", python(), "here")

    assert status == 0
    assert "livepick[trainer]==" in (tmp_path / "here" / "bin" / "calls").read_text()


def test_a_bundled_python_is_used(folder, python, tmp_path):
    """It is copied to where livepick is installed, because the bundle may be removed."""
    (folder / "python" / "bin").mkdir(parents=True)
    shutil.copy(python(), folder / "python" / "bin" / "python3")

    status, _, _ = install(folder, tmp_path / "prefix")

    assert status == 0
    assert os.access(tmp_path / "prefix" / "python" / "bin" / "python3", os.X_OK)
    status, _, faults = install(folder, tmp_path / "prefix")
    assert status == 1
    assert "python exists" in faults


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"version": "3.9"}, ("is Python 3.9, and the wheels are for 3.11", "--python python3.11")),
        ({"version": "3.12"}, ("is Python 3.12", 'make bundle BUNDLE="--python-version 3.12"')),
        (
            {"sqlite": "3.26.0"},
            ("has SQLite 3.26.0, and livepick needs 3.37", "its own (uv, conda)"),
        ),
        ({"sqlite": "3.36.9"}, ("has SQLite 3.36.9", "its own")),
        ({"sqlite": "0.0"}, ("has SQLite 0.0", "its own")),
        ({"glibc": "2.17"}, ("this system has glibc 2.17", "Use the container")),
        ({"has_venv": False}, ("cannot make virtual environments", "python3.11-venv")),
    ],
)
def test_an_unfit_python_is_refused(folder, python, tmp_path, made, said):
    """Before anything is written."""
    status, _, faults = install(folder, "--python", python(**made), tmp_path / "prefix")

    assert status == 1
    assert all(words in faults for words in said)
    assert not (tmp_path / "prefix").exists()


@pytest.mark.parametrize("sqlite", ["3.37.0", "3.45.1", "4.0.0"])
def test_a_new_sqlite_is_enough(folder, python, tmp_path, sqlite):
    assert install(folder, "--python", python(sqlite=sqlite), tmp_path / "prefix")[0] == 0


@pytest.mark.parametrize("fault", ["changed", "missing", "no sums"])
def test_a_damaged_bundle_is_refused(folder, python, tmp_path, fault):
    wheel = folder / "wheels" / "some-1.0-py3-none-any.whl"
    match fault:
        case "changed":
            wheel.write_text("another wheel\n")
        case "missing":
            wheel.unlink()
        case _:
            (folder / "SHA256SUMS").unlink()

    status, _, faults = install(folder, "--python", python(), tmp_path / "prefix")

    assert status == 1
    assert "SHA256SUMS is missing" in faults or "damaged, or a file is missing" in faults
    assert "wheels/some-1.0" in faults or fault == "no sums"
    assert not (tmp_path / "prefix").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pyton", "x"], "unknown option --pyton"),
        (["--python"], "--python needs a program"),
        (["--python", "/no/python"], "there is no /no/python"),
        (["--extras", "a;b"], "is not a list"),
    ],
)
def test_a_wrong_call_is_refused(folder, options, said):
    status, _, faults = install(folder, *options)

    assert status == 1
    assert said in faults


def test_help_says_how_to_call_it(folder):
    status, said, _ = install(folder, "--help")

    assert status == 0
    assert "sh install.sh [--python PROGRAM] [--extras LIST] [PREFIX]" in said


def test_the_question_to_python_has_an_answer(folder, tmp_path):
    """A real Python gives its versions, and is refused only if it is another one."""
    other = tmp_path / "other"
    (other / "wheels").mkdir(parents=True)
    make_bundle.fill(other, extras="trainer", version="3.99")

    status, _, faults = install(other, "--python", sys.executable, tmp_path / "prefix")

    assert status == 1
    assert f"is Python 3.{sys.version_info.minor}, and the wheels are for 3.99" in faults
    assert Path(sys.executable).name in faults

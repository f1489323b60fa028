"""Make the offline bundle: all that an installation on a machine without a network needs.

It is one tar file with wheels for the pinned versions, the constraints, the example config,
``deploy/``, checksums and ``install.sh``. ``make bundle`` runs this on a machine with a network::

    make bundle
    make bundle BUNDLE="--extras trainer,gpu --python-version 3.12 --python FOLDER"

The wheels are for glibc 2.28 and newer (RHEL 8, Debian 10, Ubuntu 20.04), whatever the machine that
makes the bundle has. The index that pip is set up with decides between torch for CPUs (0.2 GB) and
torch with CUDA (3 GB); ``--index`` adds another, such as that of PyTorch for CPUs. ``--python``
adds a Python with its own SQLite, for systems whose SQLite is too old.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from livepick import __version__

ROOT = Path(__file__).parents[2]

EXTRAS = "trainer,dask,tiff,gpu"
"""Extras by default: all that a facility may switch on later. The last three are small."""

OLDEST_GLIBC = 28
"""Minor version of the oldest glibc 2 that the wheels are for; those of torch need 2.28."""

PLAIN_FILES = ("LICENSE", "README.md", "CHANGELOG.md", "constraints.txt", "config.example.yaml")
"""Files of the repository in the bundle, besides ``deploy/``."""

SUMS = "SHA256SUMS"
INSTALL = "install.sh"


def main(words: Sequence[str] | None = None) -> int:
    """Make the bundle, print its path and size, and return the exit status."""
    given = _arguments().parse_args(words)
    version = given.python_version or f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=given.temporary) as scratch:
        folder = Path(scratch) / bundle_name(version)
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        own = _own_wheel(wheels)
        command = download_command(
            own, wheels, extras=given.extras, version=version, indexes=given.index
        )
        subprocess.run(command, check=True)
        if given.python is not None:
            shutil.copytree(given.python, folder / "python", symlinks=True)
        fill(folder, extras=given.extras, version=version)
        given.out.mkdir(parents=True, exist_ok=True)
        target: Path = given.out / f"{folder.name}.tar"
        pack(folder, target)
    print(f"{target} ({target.stat().st_size / 1e6:.0f} MB)")  # noqa: T201 - a script
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the tar file")
    parser.add_argument("--extras", default=EXTRAS, help=f"extras to install; default {EXTRAS}")
    parser.add_argument("--python-version", help="such as 3.12; default: of this Python")
    parser.add_argument(
        "--python",
        type=Path,
        help="folder of a relocatable Python to ship, as `uv python install` makes it",
    )
    parser.add_argument("--index", action="append", default=[], help="further index of packages")
    parser.add_argument(
        "--temporary", type=Path, help="folder for the files before they are packed"
    )
    return parser


def bundle_name(version: str) -> str:
    """Return the name of the bundle for a version of Python, such as ``3.11``."""
    return f"livepick-{__version__}-bundle-linux-x86_64-cp{version.replace('.', '')}"


def platforms() -> list[str]:
    """Return the platforms of the wheels, those of a newer glibc first.

    pip takes them as they are, and does not add the older ones that every glibc can use.
    """
    return [
        *(f"manylinux_2_{minor}_x86_64" for minor in range(OLDEST_GLIBC, 4, -1)),
        *(f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")),
        "linux_x86_64",
    ]


def download_command(
    own: Path, wheels: Path, *, extras: str, version: str, indexes: Iterable[str]
) -> list[str]:
    """Return the command that downloads all wheels. Packages without one make it fail."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
    command += ["--only-binary", ":all:", "--dest", str(wheels)]
    command += ["--constraint", str(ROOT / "constraints.txt")]
    command += ["--implementation", "cp", "--python-version", version]
    for abi in (f"cp{version.replace('.', '')}", "abi3", "none"):
        command += ["--abi", abi]
    for platform in platforms():
        command += ["--platform", platform]
    for index in indexes:
        command += ["--extra-index-url", index]
    return [*command, f"{own}[{extras}]"]


def _own_wheel(wheels: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = wheels.glob("livepick-*.whl")
    return wheel


def fill(folder: Path, *, extras: str, version: str) -> None:
    """Add all other files to a folder that has the wheels, and the checksums of everything."""
    for name in PLAIN_FILES:
        shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(
        ROOT / "deploy",
        folder / "deploy",
        ignore=shutil.ignore_patterns("__pycache__", "tests", "observability", "bundle"),
    )
    script = (ROOT / "deploy" / "bundle" / INSTALL).read_text()
    marks = {"VERSION": __version__, "PYTHON": version, "EXTRAS": extras}
    for mark, value in {**marks, "DEVICE": device(folder / "wheels")}.items():
        script = script.replace(f"@{mark}@", value)
    (folder / INSTALL).write_text(script)
    (folder / INSTALL).chmod(0o755)
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    sums = [f"{sha256(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(sums))


def device(wheels: Path) -> str:
    """Return what a bundle can pick and train on, by its wheels."""
    return "GPUs and CPUs" if any(wheels.glob("nvidia_cudnn*.whl")) else "CPUs (no CUDA libraries)"


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack(folder: Path, target: Path) -> None:
    """Write a folder into a tar file. Wheels are compressed already, so the tar file is not."""
    draft = target.with_name(f".{target.name}.part")

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    try:
        with tarfile.open(draft, "w") as archive:
            archive.add(folder, folder.name, filter=anonymous)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())

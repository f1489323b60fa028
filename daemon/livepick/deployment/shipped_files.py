"""Files that are no Python and come with the package: the example config and ``deploy/``.

A wheel holds copies in ``livepick/shipped/``, which the build makes (pyproject.toml). In a checkout
they are the files of the checkout.
"""

from pathlib import Path

import livepick
from livepick.errors import LivepickError

__all__ = ["DEPLOYED", "deploy_files", "example_config"]

DEPLOYED = (
    "README.md",
    "alertmanager",
    "alerts/livepick.yml",
    "cluster.md",
    "compose.yaml",
    "dask",
    "grafana",
    "hooks",
    "install.md",
    "instrument.yaml",
    "livepick.service",
    "livepick@.service",
    "prometheus",
    "proxy",
    "sessions.md",
    "slurm",
    "upkeep.md",
    "web_config.yml",
)
"""Files and folders of ``deploy/`` that a wheel holds. A test compares them with pyproject.toml."""


def example_config() -> Path:
    """Return ``config.example.yaml``. Raises LivepickError if it is missing."""
    return _shipped() / "config.example.yaml"


def deploy_files() -> dict[str, Path]:
    """Return the files of ``deploy/`` that are for an installation, by their path below it.

    Raises
    ------
    LivepickError
        They are missing.
    """
    folder = _shipped() / "deploy"
    files: dict[str, Path] = {}
    for name in DEPLOYED:
        place = folder / name
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        files.update(
            (path.relative_to(folder).as_posix(), path)
            for path in inside
            if path.is_file() and "__pycache__" not in path.parts
        )
    return files


def _shipped() -> Path:
    package = Path(livepick.__file__).parent
    for folder in (package / "shipped", package.parents[1]):
        if (folder / "config.example.yaml").is_file() and (folder / "deploy").is_dir():
            return folder
    raise LivepickError(
        f"the files that livepick ships are not in {package / 'shipped'}",
        "Install livepick again: python -m pip install --force-reinstall --no-deps livepick.",
    )

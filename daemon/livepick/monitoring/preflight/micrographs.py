"""Preflight checks of the micrographs that are there already, and of their CTF files."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.formats.micrograph import read_header, resolve_pixel_size
from livepick.errors import LivepickError
from livepick.ingest.presets import is_ignored_name, is_image_name, rules_for
from livepick.monitoring.preflight.check import Check

__all__ = ["defocus", "micrographs", "pixel_size"]

MOST_NAMES = 20_000
"""Maximum number of names that the search for micrographs reads in a watched folder."""


def pixel_size(config: Config) -> Check:
    """Check that the pixel size is known, from the header of the first micrograph."""
    name = "pixel size"
    configured = config.micrograph.pixel_size_angstrom
    path = next(micrographs(config), None)
    if path is None:
        if configured is not None:
            return Check(name, "ok", f"{configured:g} Å, from the config; no micrographs yet")
        return Check(
            name,
            "warning",
            "there is no micrograph yet whose header could be checked",
            "Set micrograph.pixel_size_angstrom if you do not trust the headers.",
        )
    try:
        size = resolve_pixel_size(
            path, read_header(path), configured, trust=config.micrograph.trust
        )
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)
    if size.notes:
        text = "; ".join(note.text for note in size.notes)
        return Check(name, "ok", f"{size.angstrom:g} Å; {path.name}: {text}")
    source = "from the config and" if configured is not None else "from"
    return Check(name, "ok", f"{size.angstrom:g} Å, {source} the header of {path.name}")


def micrographs(config: Config, folders: Sequence[Path] | None = None) -> Iterator[Path]:
    """Yield the micrographs that are in the watched folders, or in some of them."""
    rules = rules_for(config.watch)
    for root in config.watch.directories if folders is None else folders:
        for path in itertools.islice(_files(root, config), MOST_NAMES):
            relative = path.relative_to(root).as_posix()
            if is_image_name(path.name) and rules.selects(relative):
                yield path


def _files(root: Path, config: Config) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, followlinks=config.watch.follow_symlinks):
        folders[:] = sorted(name for name in folders if not is_ignored_name(name))
        yield from (Path(folder, name) for name in sorted(files))


def defocus(place: Path) -> Check:
    """Check that the configured CTF files can be read."""
    _, faults = find_ctfs(place, [])
    if faults:
        return Check("defocus", "fault", faults[0].what, faults[0].remedy)
    return Check("defocus", "ok", str(place))

"""Preflight checks of the micrographs that are there already, and of their CTF files."""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.formats.header import printable
from livepick.core.formats.micrograph import read_header
from livepick.core.formats.pixel_size import resolve_pixel_size
from livepick.core.imaging.ctf import pixels_too_large
from livepick.errors import LivepickError
from livepick.ingest.presets import Rules, rules_for
from livepick.ingest.products import product_by_name
from livepick.ingest.scan import Scan
from livepick.ingest.skipped import SKIP_KINDS, SkippedView
from livepick.ledger.session_rows import SkippedFiles
from livepick.monitoring.optics_check import OPTICS_REMEDY, optics_contradiction
from livepick.monitoring.preflight.check import Check

__all__ = ["ctf", "micrographs", "pixel_size", "watched_files"]

MOST_COMPARED = 20
"""Number of micrographs whose CTF files are compared with the config."""

MOST_NAMES = 300_000
"""Number of names in a watched folder after which the search for micrographs ends."""


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
    """Yield the micrographs that are in the watched folders, or in some of them.

    They are those that the service would take; a folder that cannot be listed has none.
    """
    rules = rules_for(config.watch)
    for root in config.watch.directories if folders is None else folders:
        scan = Scan(root, rules, config.watch.follow_symlinks)
        with contextlib.suppress(OSError):
            for finds in scan:
                yield from sorted(root / found.relative for found in finds)
                if scan.entries > MOST_NAMES:
                    break


def watched_files(config: Config) -> Iterator[Check]:
    """Check which files in the watched folders are taken, and which are left out and why."""
    rules = rules_for(config.watch)
    skip = frozenset(map(str, config.watch.directories))
    for root in config.watch.directories:
        scan = Scan(root, rules, config.watch.follow_symlinks, skip)
        taken: list[str] = []
        waiting = 0
        with contextlib.suppress(OSError):
            for finds in scan:
                for one in finds:
                    if _is_taken(root, one.relative, scan):
                        taken.append(one.relative)
                        waiting += one.blocked is not None
                if scan.entries > MOST_NAMES:
                    break
        if taken or scan.entries:
            yield _taken(root, len(taken), scan)
        if waiting:
            yield _waiting(waiting, len(taken), rules, config)
        yield from map(_left_out, scan.skipped.files())
        if rules.is_own_exclude and (products := [one for one in taken if product_by_name(one)]):
            yield Check(
                "micrographs",
                "warning",
                f"{len(products)} of them look like {product_by_name(products[0])}, such as"
                f" {printable(products[0])}; they are picked, because watch.exclude replaces the"
                " rules for products",
                "Add their names to watch.exclude, for example *_ctf.*, or remove watch.exclude.",
            )


def _is_taken(root: Path, relative: str, scan: Scan) -> bool:
    """Return True if the service would take a file; count it in the scan otherwise."""
    path = root / relative
    if not os.access(path, os.R_OK):
        scan.skipped.add("unreadable", relative, os.strerror(errno.EACCES))
        return False
    if relative.lower().endswith(".mrcs"):
        with contextlib.suppress(LivepickError):
            read_header(path)
            return True
        scan.skipped.add("stack", relative)
        return False
    return True


def _taken(root: Path, count: int, scan: Scan) -> Check:
    name = "micrographs"
    rest = f", among the first {scan.entries} names" if scan.entries > MOST_NAMES else ""
    if not count and scan.excluded:
        return Check(
            name,
            "warning",
            f"none of the {scan.excluded} images in {root} is taken{rest}",
            "Set watch.preset to the program that writes them, or set watch.include.",
        )
    return Check(name, "ok", f"{count} in {root}{rest}")


def _waiting(count: int, all_of_them: int, rules: Rules, config: Config) -> Check:
    """Return the check for micrographs that wait for another file beside them."""
    return Check(
        "micrographs",
        "warning" if count == all_of_them else "ok",
        f"{count} of {all_of_them} wait {rules.sidecar_words}, because of watch.preset:"
        f" {config.watch.preset} or the sidecars below watch",
        SKIP_KINDS["waiting"].remedy,
    )


def _left_out(files: SkippedFiles) -> Check:
    view = SkippedView.of(files)
    return Check("left out", "warning" if view.is_suspicious else "ok", view.words, view.remedy)


def ctf(config: Config) -> Iterator[Check]:
    """Check that CTF files can be read and agree with the config, and that fits are possible."""
    place = config.micrograph.ctf_place
    paths = list(itertools.islice(micrographs(config), MOST_COMPARED))
    found, faults = find_ctfs(place, paths)
    if place is not None:
        if faults:
            yield Check("defocus", "fault", faults[0].what, faults[0].remedy)
        else:
            yield Check("defocus", "ok", str(place))
    clauses = (optics_contradiction(config.optics, path, each) for path, each in found.items())
    if clause := next(filter(None, clauses), ""):
        yield Check("microscope", "warning", clause, OPTICS_REMEDY)
    if config.micrograph.fits_ctf and (reason := _why_not_fitted(config, paths)):
        yield Check("CTF fit", "ok", f"none: {reason}")


def _why_not_fitted(config: Config, paths: Sequence[Path]) -> str:
    """Return why the first micrograph cannot have a CTF fit; empty if it can, or is not known."""
    size = config.micrograph.pixel_size_angstrom
    if paths:
        with contextlib.suppress(LivepickError):
            header, trust = read_header(paths[0]), config.micrograph.trust
            size = resolve_pixel_size(paths[0], header, size, trust=trust).angstrom
    return pixels_too_large(size) if size is not None else ""

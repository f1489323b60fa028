"""Checks at the end of a chaos run: ledger, coordinate files and lists say the same."""

import contextlib
import csv
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from livepick.config.yaml_loader import load_config
from livepick.core.formats.csv_coordinates import write_csv
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.relion_star import MODELS_BLOCK, coordinates_star, particles_star
from livepick.host.atomic_files import TEMPORARY_PREFIX
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow

__all__ = ["LISTS", "digests", "faults_of"]

LISTS = (
    "autopick.star",
    "good_micrographs.star",
    "micrograph_quality.star",
    "micrographs.csv",
    "micrographs.star",
    "micrographs_ctf.star",
)
"""Files about the whole session in the output folder."""


def digests(paths: Iterator[Path] | list[Path]) -> dict[Path, str]:
    """Return a digest of the content and time of each file; ``gone`` if it does not exist."""
    found = {}
    for path in paths:
        try:
            data = path.read_bytes() + str(path.stat().st_mtime_ns).encode()
        except OSError:
            found[path] = "gone"
        else:
            found[path] = hashlib.sha256(data).hexdigest()
    return found


def faults_of(
    config_file: Path, micrographs: set[Path], *, model: int, untouched: Mapping[Path, str]
) -> list[str]:
    """Return what is wrong with the end of a session, as sentences; empty if nothing is.

    Parameters
    ----------
    config_file
        Config of the session, whose service has ended. Formats: ``relion``, ``star`` and ``csv``.
    micrographs
        All micrographs that have landed.
    model
        Version of the model that has picked all of them in the end.
    untouched
        Files that livepick must not write or delete, with their ``digests``.
    """
    config = load_config(config_file)
    output, state = config.output.directory, config.state.directory
    faults = [f"{path} was touched" for path in _changed(untouched)]
    with contextlib.closing(sqlite3.connect(state / LEDGER)) as connection:
        if connection.execute("pragma integrity_check").fetchall() != [("ok",)]:
            faults.append("the ledger is damaged")
    with Database.read_only(state / LEDGER) as database:
        ledger = LedgerReader(database)
        rows = {row.path: row for row in ledger.recent(-1)}
        faults += _of_rows(rows, micrographs, model)
        expected = _expected(ledger, output, config.particle.diameter_angstrom)
    faults += [
        f"{path} {'is missing' if found is None else 'differs from the ledger'}"
        for path, data in expected.items()
        if (found := _read(path)) != data
    ]
    faults += _of_lists(output, rows)
    known = {*expected, *untouched, *(output / name for name in LISTS)}
    own = output / ".livepick"
    faults += [
        f"{path} should not be there"
        for folder in (output, state / "models")
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_relative_to(own)
        and (path not in known if folder == output else path.name.startswith(TEMPORARY_PREFIX))
    ]
    return faults


def _changed(untouched: Mapping[Path, str]) -> list[Path]:
    now = digests(list(untouched))
    return [path for path, digest in untouched.items() if now[path] != digest]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _of_rows(
    rows: Mapping[Path, MicrographRow], micrographs: set[Path], model: int
) -> Iterator[str]:
    for path in micrographs - rows.keys():
        yield f"{path} is not in the ledger"
    for path in rows.keys() - micrographs:
        yield f"{path} is in the ledger, but never landed"
    for path, row in rows.items():
        if row.state != "picked" or row.reason is not None:
            yield f"{path} is {row.state}: {row.reason}: {row.error}"
        elif row.model_version != model:
            yield f"{path} was picked by model {row.model_version}, not by {model}"
        elif not row.pick_count:
            yield f"{path} has no picks"


def _expected(ledger: LedgerReader, output: Path, diameter_angstrom: float) -> dict[Path, bytes]:
    """Return the coordinate files that the ledger stands for, with their contents."""
    expected = {}
    for entry in ledger.visible():
        candidates = ledger.candidates(entry.id)
        if candidates is None:
            continue
        micrograph: PickedMicrograph = entry.micrograph(candidates, diameter_angstrom)
        place = Path(entry.root.name, entry.relative.with_suffix(""))
        expected[output / f"{place}_autopick.star"] = coordinates_star(micrograph)
        expected[output / "star" / f"{place}.star"] = particles_star(micrograph, turned=False)
        expected[output / "csv" / f"{place}.csv"] = write_csv(micrograph)
    return expected


def _of_lists(output: Path, rows: Mapping[Path, MicrographRow]) -> Iterator[str]:
    missing = [name for name in LISTS if not (output / name).exists()]
    if missing:
        yield f"the lists {', '.join(missing)} are missing"
        return
    text = (output / "autopick.star").read_text()
    files, _, models = text.partition(MODELS_BLOCK)
    listed = {Path(name): Path(place) for name, place in _cells(files)}
    made_by = {Path(name): int(version) for name, version, _ in _cells(models)}
    if listed.keys() != rows.keys():
        yield f"autopick.star lists {len(listed)} micrographs, the ledger {len(rows)}"
    if lost := [place for place in listed.values() if not place.exists()]:
        yield f"autopick.star lists {len(lost)} files that are not there"
    if made_by != {path: row.model_version for path, row in rows.items()}:
        yield "autopick.star names other models than the ledger"
    with (output / "micrographs.csv").open(newline="") as file:
        counts = {Path(line[0]): int(line[1]) for line in list(csv.reader(file))[1:]}
    if counts != {path: row.pick_count for path, row in rows.items()}:
        yield "micrographs.csv has other counts than the ledger"
    for name in ("micrographs.star", "micrograph_quality.star"):
        named = {Path(cells[0]) for cells in _cells((output / name).read_text())}
        if named != rows.keys():
            yield f"{name} lists {len(named)} micrographs, the ledger {len(rows)}"


def _cells(text: str) -> list[list[str]]:
    """Return the cells of the lines that begin with an absolute path."""
    return [line.split() for line in text.splitlines() if line.startswith("/")]

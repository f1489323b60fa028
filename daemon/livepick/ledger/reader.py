"""Read-only access to the ledger.

This is one file because the queries are short and independent, and a newcomer looks for them in one
place. Those of the page alone are in ``page_queries``.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from livepick.core.contracts.particle_state import ParticleState
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.image_names import without_compression, without_image_suffix
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures
from livepick.core.imaging.quality_limits import VERDICTS, QualityVerdict
from livepick.errors import MovieStackError
from livepick.ledger.columns import CTF_FIGURES, PASSING, QUALITY_FIGURES, place_of, version_from
from livepick.ledger.database import AT_ONCE, Database
from livepick.ledger.output_rows import Measured, MeasuredSummary, Visible
from livepick.ledger.rows import Counts, MicrographRow, MicrographState, PickCount, Totals
from livepick.ledger.session_rows import (
    Called,
    ClassAveragesRow,
    ModelInUse,
    ParticleEvidenceRow,
    Rebuilt,
    RunRow,
    Session,
    SkippedFiles,
)

__all__ = ["LedgerReader"]

_NEXT_ROOT = "select min(root) from micrograph where root > ?"
_VISIBLE = (
    "id, root, relative, threshold, model_version, model_kind, height_px, width_px,"
    " pixel_size_angstrom, quality_verdict"
)

MOST_ROWS = 2**63 - 1
"""Largest integer in SQLite; a request may contain a larger number."""


class LedgerReader:
    """Queries that several parts of livepick use. Thread-safe.

    Raises
    ------
    LedgerError
        From every method: the file is damaged or cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._rows = database.rows
        self._in_pages = database.in_pages

    def counts(self) -> Counts:
        """Return the number of micrographs in each state."""
        rows = self._rows(
            "select state, count(*) as n, sum(picked_content is content) as with_picks"
            " from micrograph group by state"
        )
        return _counts({row["state"]: (row["n"], row["with_picks"]) for row in rows})

    def totals(self) -> Totals:
        """Return the number of micrographs by state and by verdict, and the number of picks."""
        rows = self._rows(
            "select state, quality_verdict, count(*) as n,"
            " sum(picked_content is content) as with_picks, coalesce(sum(pick_count), 0) as picks"
            " from micrograph group by state, quality_verdict"
        )
        states: dict[str, tuple[int, int]] = {}
        verdicts: dict[QualityVerdict, int] = dict.fromkeys(VERDICTS, 0)
        for row in rows:
            number, with_picks = states.get(row["state"], (0, 0))
            states[row["state"]] = (number + row["n"], with_picks + row["with_picks"])
            if row["quality_verdict"] is not None:
                verdicts[row["quality_verdict"]] += row["n"]
        return Totals(_counts(states), sum(row["picks"] for row in rows), verdicts)

    def picked_count(self) -> int:
        """Return the number of micrographs that have picks."""
        sql = "select count(*) from micrograph where picked_content is not null"
        return int(self._rows(sql)[0][0])

    def oldest_waiting_at(self) -> float | None:
        """Return the landing time of the oldest micrograph without picks that is queued or picking.

        In unix seconds; None if there is none.
        """
        rows = self._rows(
            "select min(landed_at) as oldest from micrograph indexed by micrograph_waiting"
            " where state in ('queued', 'picking') and picked_content is not content"
        )
        oldest: float | None = rows[0]["oldest"]
        return oldest

    def last_collected(self) -> list[float]:
        """Return the landing times of the last micrographs that landed during data collection.

        In unix seconds, oldest first. Micrographs that were there at the start are not included.
        """
        return [float(each) for each in self._setting("collected") or ()]

    def last_picked_at(self) -> float | None:
        """Return the time of the last recorded picks, in unix seconds; None if there are none."""
        last: float | None = self._rows("select max(picked_at) as last from micrograph")[0]["last"]
        return last

    def has_used(self, provider: str) -> bool:
        """Return True if a micrograph was picked with an onnxruntime provider."""
        return bool(self._rows("select 1 from micrograph where provider = ? limit 1", provider))

    def recent(
        self, limit: int = 50, *, state: MicrographState | None = None
    ) -> list[MicrographRow]:
        """Return the most recently changed micrographs, the latest first."""
        index = "micrograph_failed" if state == "failed" else "micrograph_by_change"
        where = "" if state is None else f"where state = '{state}'"
        rows = self._rows(
            f"select * from micrograph indexed by {index} {where}"  # noqa: S608 - constants
            " order by changed_at desc, id desc limit ?",
            limit,
        )
        return list(map(MicrographRow.of, rows))

    def failed_places(self) -> list[tuple[Path, Path]]:
        """Return the watched folder of each failed micrograph, and its path below."""
        rows = self._rows(
            "select root, relative from micrograph indexed by micrograph_failed"
            " where state = 'failed'"
        )
        return list(map(place_of, rows))

    def latest(self, limit: int, *, picked: bool = False) -> list[MicrographRow]:
        """Return the micrographs that landed last, the latest first.

        ``picked`` restricts them to those with picks. ``not indexed``: see ``first_picked``.
        """
        rows = self._rows(
            "select * from micrograph not indexed where ?1 = 0 or picked_content is not null"
            " order by id desc limit ?2",
            picked,
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def get(self, micrograph_id: int) -> MicrographRow | None:
        """Return one micrograph by its id in the ledger; None if there is none."""
        if micrograph_id > MOST_ROWS:
            return None
        rows = self._rows("select * from micrograph where id = ?", micrograph_id)
        return MicrographRow.of(rows[0]) if rows else None

    def candidates(self, micrograph_id: int) -> Picks | None:
        """Return all candidates of a micrograph, including those below the threshold."""
        rows = self._rows("select candidates from picks where micrograph_id = ?", micrograph_id)
        return Picks.from_bytes(rows[0][0]) if rows else None

    def picked_rows(self) -> Iterator[MicrographRow]:
        """Return the picked micrographs, in the order they landed.

        Rows are read in pages, because a session has tens of thousands.
        """
        sql = "select * from micrograph where state = 'picked' and id > ? order by id limit ?"
        return map(MicrographRow.of, self._in_pages(sql))

    def paths(self) -> Iterator[Path]:
        """Return the paths of all micrographs, in the order they landed."""
        sql = "select id, root, relative from micrograph where id > ? order by id limit ?"
        return (root / relative for root, relative in map(place_of, self._in_pages(sql)))

    def file_times(self) -> list[tuple[str, str, int]]:
        """Return watched folder, path below it, and time in nanoseconds of each micrograph."""
        return [tuple(row) for row in self._rows("select root, relative, mtime_ns from micrograph")]

    def places(self) -> list[tuple[Path, Path]]:
        """Return the watched folder and the path below it of each micrograph."""
        return [place_of(row) for row in self._rows("select root, relative from micrograph")]

    def picked_places(self) -> list[tuple[int, Path]]:
        """Return the id and path of every picked micrograph, in the order they landed."""
        rows = self._rows("select id, root, relative from micrograph where state = 'picked'")
        return sorted((row["id"], Path(row["root"], row["relative"])) for row in rows)

    def first_picked(
        self, model_version: int, *, landed_since: float, limit: int
    ) -> list[MicrographRow]:
        """Return the first micrographs picked by this model that landed since a given time.

        They come in the order they landed. ``not indexed`` makes SQLite walk the table by id and
        stop early; otherwise it would collect all picked micrographs and sort them.
        """
        rows = self._rows(
            "select * from micrograph not indexed where state = 'picked' and model_version = ?"
            " and landed_at >= ? order by id limit ?",
            model_version,
            landed_since,
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def last_picked(self, model_version: int, *, after: int, limit: int) -> list[MicrographRow]:
        """Return the last micrographs picked by this model, in the order they landed.

        Parameters
        ----------
        model_version
            Version of the model.
        after
            Id of a micrograph; only later ones are returned.
        limit
            Maximum number of micrographs.
        """
        rows = self._rows(
            "select * from micrograph not indexed where state = 'picked' and model_version = ?"
            " and id > ? order by id desc limit ?",
            model_version,
            after,
            limit,
        )
        return [MicrographRow.of(row) for row in reversed(rows)]

    def with_picks(self) -> Iterator[MicrographRow]:
        """Return every micrograph that has picks, including those queued to be picked again.

        In the order they landed, and read in pages like ``picked_rows``.
        """
        return map(
            MicrographRow.of,
            self._in_pages(
                "select * from micrograph where picked_content is not null and id > ?"
                " order by id limit ?"
            ),
        )

    def without_ctf(self, limit: int) -> list[MicrographRow]:
        """Return the latest micrographs with picks for which no program has written a CTF."""
        rows = self._rows(
            "select * from micrograph not indexed where picked_content is content"
            " and ctf_source is not 'program' order by id desc limit ?",
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def fitted_ctfs(self) -> dict[Path, CtfFigures]:
        """Return the CTF figures that livepick has fitted, by the micrograph's path."""
        rows = self._rows(
            f"select root, relative, {', '.join(CTF_FIGURES)} from micrograph"  # noqa: S608
            " where ctf_source = 'fitted'"
        )
        return {
            Path(row["root"], row["relative"]): CtfFigures(*(row[name] for name in CTF_FIGURES))
            for row in rows
        }

    def measured(self, *, until: int = MOST_ROWS) -> Iterator[Measured]:
        """Return the figures of the micrographs with picks, in the order they landed.

        ``until``: largest id.
        """
        sql = (
            "select id, root, relative, pick_count, threshold, model_version, model_kind,"  # noqa: S608
            " pixel_size_angstrom, quality_verdict, quality_reason, ctf_source, ctf_score,"
            f" {', '.join(QUALITY_FIGURES + CTF_FIGURES)}"
            " from micrograph where picked_content is not null and quality_verdict is not null"
            f" and id <= {until} and id > ? order by id limit ?"
        )
        return map(Measured.of, self._in_pages(sql))

    def summary_of_measured(self) -> MeasuredSummary:
        """Return what the micrographs in ``measured`` have in common."""
        unknown = " or ".join(f"{name} is null" for name in CTF_FIGURES)
        known = " or ".join(f"{name} is not null" for name in CTF_FIGURES)
        rows = self._rows(
            f"select pixel_size_angstrom, quality_verdict, max({known}) as some_ctf,"  # noqa: S608
            f" max({unknown}) as lacks_ctf, min(id) as first, max(id) as last,"
            " max(ctf_source is not null and ctf_resolution_angstrom is null) as lacks_resolution,"
            " max(ctf_source is 'program') as is_foreign"
            " from micrograph"
            " where picked_content is not null and quality_verdict is not null"
            " group by pixel_size_angstrom, quality_verdict order by first"
        )
        good = [row for row in rows if row["quality_verdict"] == "good"]
        return MeasuredSummary(
            max((row["last"] for row in rows), default=0),
            tuple(dict.fromkeys(row["pixel_size_angstrom"] for row in rows)),
            some_have_ctf=any(row["some_ctf"] for row in rows),
            all_have_ctf=bool(rows) and not any(row["lacks_ctf"] for row in rows),
            all_good_have_ctf=bool(good) and not any(row["lacks_ctf"] for row in good),
            all_ctfs_have_resolution=not any(row["lacks_resolution"] for row in rows),
            all_ctfs_are_fitted=not any(row["is_foreign"] for row in rows),
        )

    def visible(self) -> Iterator[Visible]:
        """Yield the micrographs that have coordinates in the output folder, sorted by path.

        Rows are read in pages, because a session has tens of thousands.
        """
        place = ("", "")
        while rows := self._rows(
            f"select {_VISIBLE} from micrograph"  # noqa: S608 - a constant
            " where picked_content is not null and (root, relative) > (?, ?)"
            " order by root, relative limit ?",
            *place,
            AT_ONCE,
        ):
            yield from map(Visible.of, rows)
            place = (rows[-1]["root"], rows[-1]["relative"])

    def visible_at(self, root: Path, relative: Path) -> Visible | None:
        """Return a micrograph that has coordinates in the output folder; None if it has none."""
        rows = self._rows(
            f"select {_VISIBLE} from micrograph where picked_content is not null"  # noqa: S608
            " and root = ? and relative = ?",
            str(root),
            str(relative),
        )
        return Visible.of(rows[0]) if rows else None

    def interrupted(self) -> list[tuple[Path, Path]]:
        """Return the queued micrographs that were being picked when a service ended.

        Each as the watched folder and the path below it.
        """
        rows = self._rows(
            "select root, relative from micrograph where state = 'queued' and interruptions > 0"
        )
        return [place_of(row) for row in rows]

    def repick_failures(self, limit: int) -> list[MicrographRow]:
        """Return picked micrographs that could not be picked again, the latest first."""
        rows = self._rows(
            "select * from micrograph indexed by micrograph_repick_failed"
            " where state = 'picked' and reason is not null"
            " order by changed_at desc, id desc limit ?",
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def repick_failure_count(self) -> int:
        """Return the number of picked micrographs that could not be picked again."""
        sql = (
            "select count(*) from micrograph indexed by micrograph_repick_failed"
            " where state = 'picked' and reason is not null"
        )
        return int(self._rows(sql)[0][0])

    def note_counts(self) -> dict[str, int]:
        """Return the number of micrographs with a note of each kind, by kind."""
        rows = self._rows(
            "select note_kinds, count(*) from micrograph indexed by micrograph_noted"
            " where note_kinds is not null group by note_kinds"
        )
        counts: Counter[str] = Counter()
        for kinds, count in rows:
            counts.update(dict.fromkeys(kinds.split(","), count))
        return dict(sorted(counts.items()))

    def namesake(self, root: Path, relative: Path, *, same_image: bool = True) -> Path | None:
        """Return a micrograph that differs from ``relative`` only in its extension, or None.

        Both would write the same coordinates file. Failed micrographs are ignored.
        ``same_image``: False to pass over the same file, compressed in another way.
        """
        stem = str(without_image_suffix(relative))
        rows = self._rows(
            "select relative from micrograph where root = ? and relative >= ? and relative < ?"
            " and state <> 'failed'",
            str(root),
            stem + ".",
            stem + "/",  # the character after the dot
        )
        others = (Path(row[0]) for row in rows)
        plain = without_compression(str(relative))
        return next(
            (
                other
                for other in others
                if other != relative
                and str(without_image_suffix(other)) == stem
                and (same_image or without_compression(str(other)) != plain)
            ),
            None,
        )

    def movies(self) -> dict[Path, set[str]]:
        """Return the paths of the files that turned out to be movies, by watched folder."""
        found: dict[Path, set[str]] = {}
        for row in self._rows(
            "select root, relative from micrograph where state = 'failed' and reason = ?",
            MovieStackError.reason,
        ):
            found.setdefault(Path(row["root"]), set()).add(row["relative"])
        return found

    def roots(self) -> list[Path]:
        """Return the watched folders that micrographs have come from."""
        roots: list[Path] = []
        last = ""
        # One step for each folder; "distinct" would read all rows.
        while (last := self._rows(_NEXT_ROOT, last)[0][0]) is not None:
            roots.append(Path(last))
        return roots

    def known(self) -> dict[Path, dict[str, FileVersion]]:
        """Return the known content of each micrograph, by watched folder and path below it.

        Micrographs that failed for a reason outside the file are left out, so that the watcher
        sends them again.
        """
        rows = self._rows(
            "select root, relative, size_bytes, mtime_ns, inode from micrograph where"
            " state <> 'failed' or reason not in (select value from json_each(?))",
            json.dumps(PASSING),
        )
        found: dict[str, dict[str, FileVersion]] = {}
        for root, relative, *stored in rows:
            found.setdefault(root, {})[relative] = version_from(*stored)
        return {Path(root): files for root, files in found.items()}

    def runs(self) -> list[RunRow]:
        """Return the training runs, the latest first."""
        return [RunRow.of(row) for row in self._rows("select * from run order by version desc")]

    def model(self) -> ModelInUse | None:
        """Return the model in use, or None before the first start."""
        figures = self._setting("model")
        return None if figures is None else ModelInUse(**figures)

    def session(self) -> Session | None:
        """Return the session that this ledger belongs to, or None before the first start."""
        figures = self._setting("session")
        return None if figures is None else Session(**figures)

    def rebuilt(self) -> Rebuilt | None:
        """Return how this ledger took the place of a lost one; None if it did not."""
        figures = self._setting("rebuilt")
        return None if figures is None else Rebuilt(**figures)

    def called(self) -> Called:
        """Return the extent to which the program ``output.on_picked`` has been called."""
        return Called(**(self._setting("on_picked") or {}))

    def written_as(self) -> dict[str, Any] | None:
        """Return the form of the coordinates files in the output folder; None if it is unknown."""
        form: dict[str, Any] | None = self._setting("output")
        return form

    def skipped(self) -> dict[str, list[SkippedFiles]]:
        """Return the files that were left out at the last scan of each watched folder.

        The keys are the printable paths of the folders.
        """
        found = self._setting("skipped") or {}
        return {root: [SkippedFiles(**one) for one in files] for root, files in found.items()}

    def particle(self) -> ParticleState | None:
        """Return what is known about the particle; None: nothing, or by another version."""
        values = self._setting("particle")
        with contextlib.suppress(ValueError):
            return None if values is None else ParticleState.from_json(values)
        return None

    def particle_evidence(self) -> list[ParticleEvidenceRow]:
        """Return what the micrographs said about the particle, in the order they landed."""
        rows = self._rows(
            "select micrograph_id, content, evidence from particle_evidence order by micrograph_id"
        )
        return [ParticleEvidenceRow(*row) for row in rows]

    def class_averages(self, limit: int = 1) -> list[ClassAveragesRow]:
        """Return the class averages that were made last, the latest first."""
        rows = self._rows("select * from class_averages order by number desc limit ?", limit)
        return [ClassAveragesRow(*row) for row in rows]

    def newest_picked(self, limit: int) -> list[PickCount]:
        """Return the picks of the session's last landed micrographs, the latest first.

        Those of an earlier session in the same state folder are left out.
        """
        rows = self._rows(
            "select id, model_version, pick_count, threshold from micrograph not indexed"
            " where id > ? and picked_content is content order by id desc limit ?",
            self._session_after(),
            limit,
        )
        return [PickCount(*row) for row in rows]

    def picked_after(self, micrograph_id: int) -> int:
        """Return the number of micrographs with picks that landed after another one."""
        sql = "select count(*) from micrograph where id > ? and picked_content is not null"
        return int(self._rows(sql, micrograph_id)[0][0])

    def _session_after(self) -> int:
        """Return the largest id of the sessions before this one in the same state folder."""
        return int((self._setting("particle_after") or [0])[0])

    def last_id(self) -> int:
        """Return the largest id of a micrograph; 0 if there is none."""
        return int(self._rows("select coalesce(max(id), 0) from micrograph")[0][0])

    def first_landed(self, limit: int) -> list[MicrographRow]:
        """Return the session's first micrographs that have not failed, in the order they landed.

        Those of an earlier session in the same state folder are left out.
        """
        rows = self._rows(
            "select * from micrograph not indexed where id > ? and state <> 'failed'"
            " order by id limit ?",
            self._session_after(),
            limit,
        )
        return list(map(MicrographRow.of, rows))

    def picked_since(
        self, at: float, *, kinds: Collection[str] | None = None
    ) -> list[tuple[int, float]]:
        """Return the ids of micrographs with picks, with the time of these, the oldest first.

        Parameters
        ----------
        at
            Oldest time of the picks, in unix seconds.
        kinds
            Kinds of the models that made the picks. None: any.
        """
        rows = self._rows(
            "select id, picked_at from micrograph where picked_content is not null"
            " and picked_at >= ?1"
            " and (?2 is null or model_kind in (select value from json_each(?2)))"
            " order by picked_at, id",
            at,
            None if kinds is None else json.dumps(list(kinds)),
        )
        return [(row["id"], row["picked_at"]) for row in rows]

    def _setting(self, name: str) -> Any:
        rows = self._rows("select value from setting where name = ?", name)
        return json.loads(rows[0]["value"]) if rows else None


def _counts(states: Mapping[str, tuple[int, int]]) -> Counts:
    """Return the counts from the rows in each state: how many, and how many with their picks."""
    stale = states.get("queued", (0, 0))[1]
    numbers = {state: number for state, (number, _) in states.items()}
    return Counts(**{**numbers, "queued": numbers.get("queued", 0) - stale, "stale": stale})

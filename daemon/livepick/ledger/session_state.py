"""Recording of training runs, the model in use and the session."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.particle_state import ParticleState
from livepick.core.formats.header import printable
from livepick.ledger.database import Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_rows import (
    JUDGEMENT,
    Called,
    ClassAveragesRow,
    Rebuilt,
    RunRow,
    RunState,
    Session,
    SkippedFiles,
)

__all__ = ["SessionState", "write_setting"]


class SessionState:
    """Records what concerns the session as a whole; ``LedgerReader`` reads it."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._reader = LedgerReader(database)
        self._clock = clock

    def run_changed(
        self,
        version: int,
        fingerprint: str,
        state: RunState,
        *,
        reason: str = "",
        judgement: Judgement | None = None,
    ) -> None:
        """Record the start or end of a training run; a resumed run keeps its start time."""
        now = self._clock()
        ended_at = None if state == "running" else now
        figures = {} if judgement is None else {JUDGEMENT: judgement.as_json()}
        with self._database.transaction():
            self._database.change(
                "insert into run (version, fingerprint, state, reason, started_at, ended_at,"
                " figures) values (?, ?, ?, ?, ?, ?, ?) on conflict do update set"
                " fingerprint = excluded.fingerprint, state = excluded.state,"
                " reason = excluded.reason, ended_at = excluded.ended_at,"
                " figures = excluded.figures",
                version,
                fingerprint,
                state,
                printable(reason),
                now,
                ended_at,
                json.dumps(figures),
            )

    def use_model(self, version: int, kind: str, particle: str) -> bool:
        """Record the model used for picking from now on; recording the same one changes nothing.

        Returns
        -------
        bool
            True if it is for another particle than the previous model, judged by the fingerprint.
        """
        present = self._reader.model()
        if present is None or (present.version, present.kind) != (version, kind):
            figures = {"version": version, "kind": kind, "particle": particle}
            write_setting(self._database, "model", {**figures, "since": self._clock()})
        return present is not None and present.particle != particle

    def begin(self, name: str) -> Session:
        """Record the name of the session, and its start time if the name is new."""
        present = self._reader.session()
        if present is not None and present.name == name:
            return present
        session = Session(name, self._clock())
        with self._database.transaction():
            if present is not None:  # another sample: its particle is measured anew
                self._database.change("delete from setting where name = 'particle'")
                self._database.change("delete from particle_evidence")
                self._database.change("delete from class_averages")
                write_setting(self._database, "particle_after", [self._reader.last_id()])
            write_setting(
                self._database, "session", {"name": session.name, "started_at": session.started_at}
            )
        return session

    def rebuilt(self, rebuilt: Rebuilt) -> None:
        """Record how this ledger took the place of one that was lost."""
        write_setting(self._database, "rebuilt", dataclasses.asdict(rebuilt))

    def restore_run(self, run: RunRow) -> None:
        """Record a training run of an earlier ledger; one that is recorded stays as it is."""
        with self._database.transaction():
            self._database.change(
                "insert into run (version, fingerprint, state, reason, started_at, ended_at)"
                " values (?, ?, ?, ?, ?, ?) on conflict do nothing",
                run.version,
                run.fingerprint,
                run.state,
                run.reason,
                run.started_at,
                run.ended_at,
            )

    def called(self, extent: Called) -> None:
        """Record the extent to which the program ``output.on_picked`` has been called.

        Recording the same one changes nothing.
        """
        if extent != self._reader.called():
            write_setting(self._database, "on_picked", dataclasses.asdict(extent))

    def skipped(self, root: Path, files: Sequence[SkippedFiles]) -> None:
        """Record the files that were left out at the last scan of a watched folder."""
        found = self._reader.skipped() | {printable(root): list(files)}
        write_setting(
            self._database,
            "skipped",
            {name: [dataclasses.asdict(one) for one in each] for name, each in found.items()},
        )

    def particle_seen(
        self, micrograph_id: int, content: int, evidence: str | None, reason: str
    ) -> None:
        """Record the evidence about the particle from a micrograph, or why there is none."""
        with self._database.transaction():
            self._database.change(
                "insert into particle_evidence"
                " select id, ?, ?, ?, ? from micrograph where id = ?"
                " on conflict do update set content = excluded.content,"
                " measured_at = excluded.measured_at, evidence = excluded.evidence,"
                " reason = excluded.reason",
                content,
                self._clock(),
                evidence,
                None if evidence is not None else printable(reason),
                micrograph_id,
            )

    def particle_changed(self, state: ParticleState) -> None:
        """Record what is known about the particle."""
        write_setting(self._database, "particle", state.to_json())

    def classes_made(self, row: ClassAveragesRow) -> None:
        """Record class averages; recording the same ones again changes nothing."""
        values = dataclasses.astuple(row)
        with self._database.transaction():
            self._database.change(
                f"insert into class_averages values ({', '.join('?' * len(values))})"  # noqa: S608
                " on conflict do nothing",
                *values,
            )

    def written_as(self, form: Mapping[str, object]) -> None:
        """Record the form in which the coordinates files in the output folder were written."""
        write_setting(self._database, "output", form)


def write_setting(
    database: Database, name: str, value: Mapping[str, object] | Sequence[float]
) -> None:
    """Store a value under a name, as JSON, in place of the previous value."""
    with database.transaction():
        database.change(
            "insert into setting values (?, ?) on conflict do update set value = excluded.value",
            name,
            json.dumps(value),
        )

"""The nodes of a cluster as the service judges them: accepted, refused, or set aside.

A file that fails on one node may be bad, or the node may be. A failure that may be the node's is
tried once more on another node before anybody sees it. If it fails there in the same way, it is the
file's failure; if it succeeds, the first node gets a strike. Strikes for several files without a
success between them set a node aside. It is asked again later, and taken back once it fits.

Pure: it takes what the scheduler and the nodes say, and the time, and returns decisions.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from livepick.core.contracts.job import CPU, WorkerDiedError
from livepick.core.contracts.node import HelloRequest, NodeCard, NodeReport
from livepick.errors import (
    ChangedFileError,
    LivepickError,
    MemoryLimitError,
    ModelError,
    ProviderError,
    TimeLimitError,
    UnreadableFileError,
    VanishedFileError,
)

__all__ = ["Failure", "Node", "NodeState", "Nodes", "Try", "WorkerInfo", "failure_of", "refusal"]

NodeState = Literal["asked", "accepted", "refused", "set_aside"]

JOBS_PER_SLOT = 2
"""Jobs that a node gets at a time for each process: one runs and one waits."""

STRIKES = 3
"""A node is set aside after this many files that other nodes could pick, without a success."""

MOST_TRIES = 4
"""A job is given back after this many tries."""

MOST_LOST = 3
"""A job is given back after it was lost with this many nodes: it may be what ends them."""

SILENT_SECONDS = 30.0
"""A node that has sent no heartbeat to the scheduler for so long has lost its jobs."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 15.0, 300.0
"""Time before an unfit node is asked again; it doubles each time."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Description of a worker by the scheduler."""

    address: str
    incarnation: str
    """Tells a worker from another one that had the same address."""
    name: str
    host: str
    slots: int
    """Number of jobs that it picks at a time; 0: it was not started by ``livepick worker``."""
    last_seen: float
    """Time of its last heartbeat, by the clock of the scheduler."""
    is_leaving: bool = False
    """True if it finishes its running jobs and begins no others."""
    report: NodeReport = field(default_factory=NodeReport)
    """Its own report, with its last heartbeat."""


@dataclass(slots=True, eq=False)
class Node:
    """A node as the service sees it. Times are monotonic seconds."""

    info: WorkerInfo
    seen_at: float
    """Time at which the last heartbeat was noticed."""
    progress_at: float
    """Time at which a job has come back."""
    ask_at: float
    """Time at which to ask it (again) whether it fits."""
    state: NodeState = "asked"
    reason: str = ""
    """Reason why it is refused or set aside, and what to do."""
    is_silent: bool = False
    is_being_asked: bool = False
    provider: str | None = None
    heavy: bool = False
    jobs: int = 0
    """Number of our jobs that it has."""
    strikes: dict[str, str] = field(default_factory=dict)
    """Failures that other nodes did not have, by file."""
    pause_seconds: float = FIRST_PAUSE_SECONDS

    @property
    def address(self) -> str:
        """Address of the Dask worker."""
        return self.info.address


@dataclass(frozen=True, slots=True)
class Failure:
    """Failure of a job on a node."""

    kind: str
    """One short word, from a limited set."""
    whose: Literal["file", "node", "unknown"]
    text: str
    is_final: bool = False
    """True if one is enough to set the node aside."""


@dataclass(frozen=True, slots=True)
class Try:
    """A try of a job that has failed."""

    address: str
    host: str
    kind: str
    text: str = ""


def failure_of(error: BaseException, *, file_is_there: bool, is_unchanged: bool = False) -> Failure:
    """Return whose fault the error of a job may be.

    Parameters
    ----------
    error
        Exception that the job has raised.
    file_is_there
        True if the service sees the file of the job.
    is_unchanged
        True if the service sees it with the content that the job was given for.
    """
    text = error.what if isinstance(error, LivepickError) else str(error) or type(error).__name__
    whose: Literal["file", "node", "unknown"]
    match error:
        case ProviderError():
            return Failure(error.reason, "node", text, is_final=True)
        case VanishedFileError():
            kind, whose = error.reason, "node" if file_is_there else "unknown"
        case ChangedFileError():
            kind, whose = error.reason, "node" if is_unchanged else "file"
            text += "; the service sees it unchanged" if is_unchanged else ""
        case UnreadableFileError() | MemoryLimitError() | TimeLimitError() | ModelError():
            kind, whose = error.reason, "unknown"
        case LivepickError():
            kind, whose = error.reason, "file"
        case WorkerDiedError():
            kind, whose = "died", "unknown"
        case _:
            kind, whose = "unexpected", "unknown"
    return Failure(kind, whose, text)


class Nodes:
    """The nodes that the scheduler knows. For one thread."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def all(self) -> Collection[Node]:
        """Return all nodes."""
        return self._nodes.values()

    def accepted(self) -> list[Node]:
        """Return the nodes that get jobs."""
        return [
            node
            for node in self._nodes.values()
            if node.state == "accepted" and not node.is_silent and not node.info.is_leaving
        ]

    @property
    def slots(self) -> int:
        """Number of jobs that the accepted nodes pick at a time."""
        return sum(node.info.slots for node in self.accepted())

    def clear(self) -> list[Node]:
        """Forget all nodes, and return them: the scheduler is lost."""
        nodes = list(self._nodes.values())
        self._nodes.clear()
        return nodes

    def update(self, workers: Iterable[WorkerInfo], now: float) -> list[Node]:
        """Take what the scheduler knows, and return the nodes whose jobs are lost."""
        lost, current = [], {worker.address: worker for worker in workers}
        for address, node in list(self._nodes.items()):
            worker = current.get(address)
            if worker is None or worker.incarnation != node.info.incarnation:
                del self._nodes[address]
                if not node.is_silent:  # else its jobs have been lost already
                    lost.append(node)
        for address, worker in current.items():
            node = self._nodes.setdefault(address, Node(worker, now, now, now))
            if worker.last_seen != node.info.last_seen:
                node.seen_at = now
            node.info = worker
            was_silent, node.is_silent = node.is_silent, now - node.seen_at > SILENT_SECONDS
            if node.is_silent and not was_silent:
                lost.append(node)
            elif was_silent and not node.is_silent and node.state == "accepted":
                node.state, node.ask_at = "asked", now
        return lost

    # ---- whether a node fits -------------------------------------------------------------------

    def due(self, now: float) -> list[Node]:
        """Return the nodes to ask now whether they fit; they are marked as being asked."""
        due = [
            node
            for node in self._nodes.values()
            if node.state != "accepted"
            and not node.is_being_asked
            and not node.is_silent
            and not node.info.is_leaving
            and now >= node.ask_at
        ]
        for node in due:
            node.is_being_asked = True
        return due

    def answered(self, node: Node, card: NodeCard, request: HelloRequest, now: float) -> None:
        """Take the answer of a node: accept it, take it back, or refuse it."""
        reason = refusal(card, request)
        if reason is not None:
            self.refuse(node, reason, now)
            return
        node.is_being_asked = False
        node.state, node.reason = "accepted", ""
        node.provider, node.heavy = card.provider, card.heavy
        node.strikes.clear()

    def refuse(self, node: Node, reason: str, now: float) -> None:
        """Give a node no jobs, and ask it again later."""
        node.is_being_asked = False
        if node.state != "set_aside":
            node.state = "refused"
        node.reason = reason
        self._ask_later(node, now)

    def _set_aside(self, node: Node, reason: str, now: float) -> None:
        if node.state == "accepted":
            node.state, node.reason = "set_aside", reason
            self._ask_later(node, now)

    def _ask_later(self, node: Node, now: float) -> None:
        node.ask_at = now + node.pause_seconds
        node.pause_seconds = min(2 * node.pause_seconds, LONGEST_PAUSE_SECONDS)

    # ---- jobs ----------------------------------------------------------------------------------

    def choose(self, tries: Collection[Try] = ()) -> Node | None:
        """Return the node that gets the next job; None if there is none, or all are full.

        Parameters
        ----------
        tries
            Failed tries of the job: it goes to another node, on another host if there is one.
        """
        tried = {each.address for each in tries}
        hosts = {each.host for each in tries}
        best: Node | None = None
        least = (True, 0.0)
        others = [node for node in self.accepted() if node.address not in tried] if tried else []
        for node in others or self.accepted():
            load = node.jobs / node.info.slots
            if load < JOBS_PER_SLOT:
                rank = (node.info.host in hosts, load)
                if best is None or rank < least:
                    best, least = node, rank
        return best

    def succeeded(self, file: str, node: Node, tries: Iterable[Try], now: float) -> None:
        """Take a success: a node on which the same file failed before gets a strike."""
        self._works(node)
        for each in tries:
            if each.kind != "lost" and (other := self._nodes.get(each.address)) is not None:
                why = f"{each.text}; other nodes pick the same files"
                self._strike(other, file, why, now)

    def failed(
        self, file: str, node: Node, tries: Collection[Try], failure: Failure, now: float
    ) -> bool:
        """Take a failure, and return True if the job is to be tried on another node.

        Parameters
        ----------
        file
            Name of the file, or of another job.
        node
            Node on which it failed.
        tries
            Its earlier tries.
        failure
            The failure.
        now
            Monotonic seconds.
        """
        if failure.whose == "file":
            self.succeeded(file, node, tries, now)  # the node works
            return False
        if failure.whose == "node":
            if failure.is_final:
                self._set_aside(node, _reason(failure.text), now)
            else:
                self._strike(node, file, failure.text, now)
            return len(tries) + 1 < MOST_TRIES
        if any(each.kind == failure.kind for each in tries):
            return False
        tried = {each.address for each in tries} | {node.address}
        return len(tries) + 1 < MOST_TRIES and any(
            other.address not in tried for other in self.accepted()
        )

    def hangs(self, file: str, node: Node, now: float) -> None:
        """Note that a job has not come back from a node in time."""
        self._strike(node, file, "jobs do not come back in time", now)

    def _works(self, node: Node) -> None:
        node.strikes.clear()
        node.pause_seconds = FIRST_PAUSE_SECONDS

    def _strike(self, node: Node, file: str, why: str, now: float) -> None:
        node.strikes[file] = why
        if len(node.strikes) >= STRIKES:
            self._set_aside(node, _reason(why), now)


def _reason(text: str) -> str:
    return f"{text.rstrip('.')}. Run livepick check on that machine."


def refusal(card: NodeCard, request: HelloRequest) -> str | None:
    """Return why a node does not fit a session, and what to do; None if it fits.

    Parameters
    ----------
    card
        Answer of the node.
    request
        Question that it has answered.
    """
    state = request.token_file.parent
    root = next(iter(card.missing_roots), None)
    reasons = {
        _reason(card.fault): card.fault,
        f"it does not see {state}. Mount the state folder of the service on that machine, at the"
        " same path.": request.token is not None and card.token is None,
        f"its {state} is another folder than that of the service. Mount the state folder of the"
        " service on that machine, at the same path.": request.token not in (None, card.token),
        f"it does not see {root}. Mount the watched folder there, at the same path.": root,
        f"it does not see the model {request.bundle}. Check the mount of the state folder on that"
        " machine.": request.graph_sha256 not in (None, card.graph_sha256),
        "it has no usable GPU, and picking.device is require-gpu. Run livepick check on that"
        " machine.": request.device == "require-gpu" and card.provider == CPU,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)

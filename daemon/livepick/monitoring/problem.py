"""Problems to report to the operator, with their severity and remedy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.core.contracts.cluster_view import ClusterView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.finding import Finding
from livepick.core.evaluation.drift_test import DriftKind
from livepick.core.formats.header import printable
from livepick.errors import (
    ConfigError,
    EditedError,
    EngineError,
    LedgerWriteError,
    LivepickError,
    ModelError,
    OccupiedError,
    OutputError,
)
from livepick.host.unexpected_errors import UnexpectedError
from livepick.ledger.session_rows import Rebuilt

__all__ = [
    "Kind",
    "Level",
    "Problem",
    "config_invalid",
    "config_refused",
    "drifted",
    "folder_gone",
    "gpu_set_aside",
    "ledger_not_writable",
    "ledger_rebuilt",
    "model_damaged",
    "no_gpu",
    "no_workers",
    "nodes_unfit",
    "notices_not_sent",
    "optics_contradicted",
    "output_not_writable",
    "output_obstructed",
    "unexpected_errors",
    "web_config_refused",
    "web_insecure",
    "workers_left_behind",
]

Kind = Literal[
    "few_good_classes",
    "service_ended",
    "service_not_responding",
    "service_other_version",
    "folder_gone",
    "files_left_out",
    "output_not_writable",
    "output_obstructed",
    "ledger_not_writable",
    "ledger_not_readable",
    "ledger_rebuilt",
    "disk_full",
    "picking_stopped",
    "picking_behind",
    "many_failures",
    "no_picks",
    "poor_quality",
    "ctf_not_trusted",
    "optics_contradicted",
    "no_new_micrographs",
    "training_failed",
    "config_refused",
    "config_invalid",
    "drift",
    "particle_contradicted",
    "particle_in_doubt",
    "particle_not_measured",
    "no_gpu",
    "notices_not_sent",
    "gpu_set_aside",
    "unexpected_errors",
    "web_config_refused",
    "web_insecure",
    "model_damaged",
    "no_workers",
    "node_unfit",
    "workers_left_behind",
]
"""Kinds of problem. Programs decide by the kind, never by the sentence."""

MOST_SHOWN = 300
"""Maximum number of characters of an error text that is not livepick's own."""

MOST_NODES = 3
"""Maximum number of workers of a cluster that are named in one problem."""

Level = Literal["attention", "bad"]
"""Severity. ``bad``: micrographs or picks will be missing until somebody acts. ``attention``: the
session continues, but somebody should look at it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of the session."""

    kind: Kind
    level: Level
    sentence: str
    """Description of the problem, ending in a full stop."""
    remedy: str = ""
    """Advice, in full sentences; empty if ``sentence`` contains it."""


def folder_gone(root: Path, detail: str) -> Problem:
    """Return the problem of a missing watched folder."""
    return Problem(
        "folder_gone",
        "bad",
        f"The watched folder {printable(root)} is missing: {detail}.",
        "Mount it again. livepick then continues by itself, and no micrograph is lost.",
    )


def optics_contradicted(clause: str, remedy: str) -> Problem:
    """Return the problem of a config that differs from a CTF file, as a clause says."""
    return Problem("optics_contradicted", "attention", f"{clause}.", remedy)


def output_not_writable(folder: Path, error: OutputError) -> Problem:
    """Return the problem of an output folder that cannot be written, with the system's error."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        why = cause.strerror
        remedy = (
            "Free some disk space or fix the permissions. Picking waits, then continues by itself."
        )
    else:
        why, remedy = printable(error.what), f"{printable(error.remedy)} Until then, picking waits."
    return Problem(
        "output_not_writable", "bad", f"Writing to {printable(folder)} failed: {why}.", remedy
    )


def output_obstructed(errors: Sequence[OccupiedError]) -> Problem:
    """Return the problem of files that are in the way of livepick's, of which there is one."""
    foreign = [error for error in errors if not isinstance(error, EditedError)]
    first = printable((foreign or errors)[0].what)
    more = len(errors) - 1
    others = f" There {'is' if more == 1 else 'are'} {more} more like it." if more else ""
    return Problem(
        "output_obstructed",
        "bad" if foreign else "attention",
        f"{first}.{others}",
        "livepick never overwrites what it did not write. Move or delete it if it is not wanted;"
        " livepick then writes its own by itself. Picking continues, and no picks are lost.",
    )


def ledger_not_writable(error: LedgerWriteError) -> Problem:
    """Return the problem of a ledger that cannot be written, with the error text of SQLite."""
    return Problem("ledger_not_writable", "bad", f"{printable(error.what)}.", error.remedy)


def ledger_rebuilt(rebuilt: Rebuilt) -> Problem:
    """Return the problem of a ledger that was lost and has been rebuilt."""
    sentence = (
        f"The ledger was lost ({printable(rebuilt.why)}) and has been rebuilt: {rebuilt.kept}"
        " micrographs keep the picks in their files and are picked again behind all others, the"
        " others are picked anew."
        if rebuilt.done
        else f"The ledger was lost ({printable(rebuilt.why)}) and is being rebuilt from the output"
        " folder; the lists there are written again when that is done."
    )
    remedy = "Check the disk of the state folder."
    if rebuilt.aside:
        remedy += (
            f" The old ledger is {printable(rebuilt.aside)}: attach it to a report, or delete it;"
            " then this message goes away."
        )
    return Problem("ledger_rebuilt", "attention", sentence, remedy)


def model_damaged(error: ModelError) -> Problem:
    """Return the problem of a model that should pick and cannot be used."""
    return Problem(
        "model_damaged",
        "attention",
        "The model that should pick cannot be used, so an earlier one or the blob picker picks:"
        f" {_in_a_line(error.what)}.",
        f"{error.remedy} Once it is restored it is used again; livepick models list CONFIG shows"
        " the others, and livepick models promote CONFIG N takes one of them.",
    )


def config_refused(error: BaseException) -> Problem:
    """Return the problem of a rejected config edit; the error message has a line for each fault."""
    what, remedy = (
        (error.what, error.remedy) if isinstance(error, LivepickError) else (str(error), "")
    )
    return Problem(
        "config_refused",
        "attention",
        "The edited config was rejected, and the previous settings still apply:"
        f" {_in_a_line(what)}.",
        remedy,
    )


def config_invalid(error: ConfigError) -> Problem:
    """Return the problem of an invalid config that no service has read."""
    return Problem(
        "config_invalid",
        "attention",
        "The config is invalid, so this report uses the settings that were last valid:"
        f" {_in_a_line(error.what)}.",
        error.remedy,
    )


def drifted(finding: Finding[DriftKind]) -> Problem:
    """Return the problem of a session that has drifted from what its model was promoted on."""
    return Problem(
        "drift",
        "attention",
        _sentence(finding.evidence),
        f"{_sentence(finding.remedy)} Look at the newest micrographs; if they are good, run"
        " livepick retrain.",
    )


def no_gpu(why: str) -> Problem:
    """Return the problem of a GPU that should be used and is not.

    Parameters
    ----------
    why
        Reason to expect one, as a clause, such as ``nvidia-smi is installed``.
    """
    return Problem(
        "no_gpu",
        "attention",
        f"The GPU is not used: {why}, but livepick picks on the CPU.",
        "Picking continues, but more slowly. Run nvidia-smi and livepick check; if the service"
        " started before the GPU driver, restart it. To do without a GPU, set picking.device: cpu.",
    )


def notices_not_sent(fault: str) -> Problem:
    """Return the problem of notices that do not arrive; the fault never contains an address."""
    return Problem(
        "notices_not_sent",
        "attention",
        f"A notice could not be sent: {printable(fault)}.",
        "It is tried again with growing pauses. livepick notify-test CONFIG tries it now.",
    )


def gpu_set_aside(device: DeviceAside) -> Problem:
    """Return the problem of a GPU that failed, while others pick."""
    return Problem(
        "gpu_set_aside",
        "attention",
        f"{device.name} has been set aside: {_in_a_line(device.reason)}.",
        "The other GPUs continue, and no micrograph is lost. Run nvidia-smi and livepick check;"
        " livepick tries this GPU again every few minutes. Take it out of engine.devices, or of"
        " --devices of livepick worker, if it stays lost.",
    )


def no_workers(error: EngineError) -> Problem:
    """Return the problem of a machine on which no worker can be started."""
    return Problem(
        "no_workers",
        "bad",
        f"No micrograph can be picked: {printable(error.what)}.",
        f"{error.remedy} Picking continues by itself, and nothing is lost.",
    )


def nodes_unfit(cluster: ClusterView) -> list[Problem]:
    """Return the problems of the workers of a cluster that get no jobs, one for each reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for node in cluster.nodes:
        if node.state in ("refused", "set_aside", "silent"):
            names.setdefault((node.reason, node.remedy), []).append(node.name)
    problems = []
    for (reason, remedy), unfit in names.items():
        more = f" and {len(unfit) - MOST_NODES} more" if len(unfit) > MOST_NODES else ""
        which = "worker" if len(unfit) == 1 else "workers"
        problems.append(
            Problem(
                "node_unfit",
                "attention",
                f"The {which} {', '.join(unfit[:MOST_NODES])}{more} of the cluster"
                f" get{'s' if len(unfit) == 1 else ''} no jobs: {printable(reason)}.",
                f"{printable(remedy)} livepick asks again every few minutes.".lstrip(),
            )
        )
    return problems


def workers_left_behind(count: int) -> Problem:
    """Return the problem of worker processes that cannot be killed."""
    which = "A worker process hangs" if count == 1 else f"{count} worker processes hang"
    return Problem(
        "workers_left_behind",
        "attention",
        f"{which} in a disk or file system that does not answer, and cannot be killed.",
        "Others have taken their place. Check the mounts of the watched folders; the processes end"
        " when the file system answers, or when the machine restarts.",
    )


def unexpected_errors(latest: UnexpectedError, count: int) -> Problem:
    """Return the problem of unexpected errors that the service has passed over."""
    which = "An unexpected error was" if count == 1 else f"{count} unexpected errors were"
    return Problem(
        "unexpected_errors",
        "attention",
        f"{which} passed over. The last one, in {latest.part}, was with {printable(latest.item)}:"
        f" {_in_a_line(latest.error)[:MOST_SHOWN]}.",
        "Everything else continues. This is a bug in livepick: please report it with the lines"
        ' around "unexpected error" in the log (journalctl -u livepick).',
    )


def web_insecure(address: str) -> Problem:
    """Return the problem of a page that others can read, which the config accepts."""
    return Problem(
        "web_insecure",
        "attention",
        f"Anyone who can reach {address} can read this page and the metrics (web.insecure).",
        "Set web.web_config_file with TLS and passwords, or listen on 127.0.0.1 behind a proxy.",
    )


def web_config_refused(error: ConfigError) -> Problem:
    """Return the problem of a file with TLS and passwords that has a fault now."""
    return Problem(
        "web_config_refused",
        "attention",
        f"The previous TLS and passwords of the page stay in force: {_in_a_line(error.what)}.",
        error.remedy,
    )


def _in_a_line(what: str) -> str:
    return "; ".join(line.strip().rstrip(".") for line in printable(what).splitlines())


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words[-1] in ".?" else ".")

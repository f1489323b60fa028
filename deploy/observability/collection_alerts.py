"""Alerts on the arrival of micrographs."""

from livepick.config.alert_thresholds import (
    NOT_TAKEN,
    PROBABLY_OVER_SECONDS,
    QUIET_GAPS,
    QUIET_SECONDS,
    UNREADABLE,
)
from observability.alert import Alert

__all__ = ["COLLECTION_ALERTS"]

_SAME = "on (job, instance)"
_QUIET = f"seconds({QUIET_SECONDS:.0f}s)"

_SILENCE = "time() - livepick_last_micrograph_seen_timestamp_seconds"
_STALLED = f"""
    livepick_session_active == 1
    and {_SILENCE} > clamp_min({QUIET_GAPS} * livepick_micrograph_gap_seconds, {_QUIET})
    """
_OVER = f"seconds({PROBABLY_OVER_SECONDS:.0f}s)"

COLLECTION_ALERTS = (
    Alert(
        name="LivepickAcquisitionStalled",
        severity="warning",
        expr=f"{_STALLED} and {_SILENCE} < {_OVER}",
        lasting="1m",
        dashboard="session",
        summary="No micrograph has landed on {{ $labels.instance }} for a long time. Check the"
        " microscope, then motion correction and the transfer. Is the session over? livepick end"
        " CONFIG.",
        runbook="No micrograph has landed for 15 minutes, or for ten times the usual interval if"
        " that is longer, in a session that was collecting. Has the acquisition stopped (end of"
        " the queue, lost vacuum, refill)? Is motion correction running? Is the transfer running,"
        " and is there space on its disk? At the end of a session, end it: `livepick end CONFIG`,"
        " or let it end by itself (`session.end_after_hours`). After two hours the alert gives way"
        " to LivepickSessionProbablyOver. Micrographs that were in the folders when livepick"
        " started do not trigger it.",
    ),
    Alert(
        name="LivepickNothingTaken",
        severity="critical",
        expr=f"""
            ({_STALLED})
            and {_SAME} sum by (job, instance) (
                delta(livepick_skipped_files{{kind=~"{"|".join(NOT_TAKEN)}"}}[30m])
            ) > 0
            """,
        lasting="1m",
        dashboard="session",
        summary="Files land on {{ $labels.instance }}, and livepick takes none of them: it leaves"
        " them out. Run livepick status: it says which, and which setting takes them.",
        runbook="No micrograph has landed for a long time, but more and more files are left out:"
        " the microscope goes on, and the names or the format of its micrographs have changed, or"
        " a file beside each is missing (`watch.require_sidecar`). `livepick status` names the"
        " kind, an example and the remedy. Nothing is lost: they are picked as soon as they are"
        " taken.",
    ),
    Alert(
        name="LivepickSessionProbablyOver",
        severity="info",
        expr=f"{_STALLED} and {_SILENCE} >= {_OVER}",
        lasting="1m",
        dashboard="session",
        summary="No micrograph has landed on {{ $labels.instance }} for more than two hours. If the"
        " session is over: livepick end CONFIG.",
        runbook="`livepick end CONFIG` writes the report and releases the workers and the GPU; with"
        " `session.end_after_hours` sessions end by themselves. If the microscope should be"
        " collecting, see LivepickAcquisitionStalled. The alert ends six hours after the last"
        " micrograph.",
    ),
    Alert(
        name="LivepickWatchRootGone",
        severity="critical",
        expr="livepick_watch_root_available == 0",
        lasting="2m",
        dashboard="pipeline",
        summary="Watched folder {{ $labels.root }} of {{ $labels.instance }} is missing. Mount"
        " it again; livepick then continues by itself.",
        runbook="livepick's page names the folder (the label counts from 0, in the order of"
        " `watch.directories`). Is the share mounted, and can the user `livepick` read it? Nothing"
        " is lost: when the folder returns, its files are listed again. A folder that has not been"
        " there yet does not fire this alert.",
    ),
    Alert(
        name="LivepickScanOverdue",
        severity="critical",
        expr=f"""
            time() - livepick_last_scan_timestamp_seconds
                > 3 * livepick_rescan_interval_seconds + seconds(2m)
            and livepick_last_scan_timestamp_seconds > 0
            unless {_SAME} livepick_watch_root_available == 0
            """,
        lasting="1m",
        dashboard="pipeline",
        summary="The watched folders of {{ $labels.instance }} have not been listed for too long:"
        " new micrographs may be missed. Try ls on them; the file system may hang.",
        runbook="Listing the folders hangs, or takes longer than three intervals. Check the scan"
        " duration on the Pipeline dashboard, and the file server. Many old files in the watched"
        " folders slow it down: watch only the session's folder.",
    ),
    Alert(
        name="LivepickFilesUnreadable",
        severity="warning",
        expr=f'sum without (kind) (livepick_skipped_files{{kind=~"{"|".join(UNREADABLE)}"}}) > 0',
        lasting="10m",
        dashboard="pipeline",
        summary="{{ $value }} files or folders in the watched folders of {{ $labels.instance }}"
        " cannot be read, so micrographs may be missed. livepick status has an example.",
        runbook="The service's user may not read a file or enter a folder, a link points to"
        " nothing, the file system reports an error, or folders are nested more than 32 deep."
        " `livepick status` names the kind, an example and the remedy. Files are taken as soon as"
        " they can be read.",
    ),
    Alert(
        name="LivepickEventsLost",
        severity="info",
        expr="increase(livepick_watch_overflows_total[1h]) > 0",
        lasting="0m",
        dashboard="pipeline",
        summary="The kernel dropped file events of {{ $labels.instance }}. No micrograph is lost, a"
        " rescan finds them; raise fs.inotify.max_queued_events.",
        runbook="Files arrived faster than the kernel's queue allows, so all folders were listed"
        " at once. Set `sysctl fs.inotify.max_queued_events=65536`, or `watch.mode: poll`.",
    ),
)

"""Alerts on folders that cannot be written, and on disks that fill up."""

from livepick.host.disks import LOW_FRACTION, TIGHT_GIB
from observability.alert import Alert

__all__ = ["DISK_ALERTS"]

_TOLD_ONCE = "and on (job, instance, path_role) livepick_disk_shared == 0"
"""Condition that reports a disk with several roles only once."""

DISK_ALERTS = (
    Alert(
        name="LivepickOutputRefused",
        severity="critical",
        expr="livepick_output_writable == 0",
        lasting="1m",
        dashboard="pipeline",
        summary="The output folder of {{ $labels.instance }} cannot be written, so picking waits."
        " Free space or fix its permissions; livepick continues by itself within 30 seconds.",
        runbook="livepick's page names the folder and the reason. Check `df` (blocks, and inodes"
        " with `df -i`), quotas, ownership, and `ReadWritePaths=` of the unit. A share that is not"
        " mounted, a file in the place of the folder, and another session that has taken it over"
        " are said as such. No pick is lost: waiting micrographs are picked afterwards.",
    ),
    Alert(
        name="LivepickOutputObstructed",
        severity="warning",
        expr='livepick_output_obstacles{kind="foreign"} > 0',
        lasting="5m",
        dashboard="pipeline",
        summary="{{ $value }} files in the output folder of {{ $labels.instance }} are where files"
        " of livepick belong, and livepick did not write them. Move them away; livepick then"
        " writes its own by itself.",
        runbook="livepick's page and its log name the files. livepick never overwrites or deletes"
        " what it did not write, and follows no links in the folder. Picking continues: the picks"
        " are in the ledger, and the coordinates are written as soon as the files have gone. RELION"
        " is not told of micrographs whose coordinates are not livepick's.",
    ),
    Alert(
        name="LivepickStateRefused",
        severity="critical",
        expr="livepick_state_writable == 0",
        lasting="1m",
        dashboard="pipeline",
        summary="The ledger of {{ $labels.instance }} cannot be written, so all of livepick waits."
        " Free space on the disk of the state folder or fix its permissions; livepick continues"
        " by itself within a minute.",
        runbook="`journalctl -u livepick` has SQLite's reason. Full or read-only: check `df`"
        " (blocks, and inodes with `df -i`), quotas, ownership. Locked: another program has opened"
        " the ledger for writing, close it. Micrographs that land meanwhile are recorded"
        " afterwards; until then, other metrics do not change.",
    ),
    Alert(
        name="LivepickLedgerRebuilt",
        severity="warning",
        expr="time() - livepick_ledger_rebuilt_timestamp_seconds < 6 * 3600",
        lasting="0m",
        dashboard="pipeline",
        summary="The ledger of {{ $labels.instance }} was damaged or removed, and livepick has"
        " begun a new one from the files in the output folder. Check the disk of the state folder.",
        runbook="livepick's page and its log say what was wrong, and where the old ledger is kept."
        " Micrographs whose coordinates files are as livepick wrote them keep their picks and are"
        " picked again behind all others; the rest is picked anew. Look for errors of the disk"
        " (`dmesg`, `smartctl -a`), and for programs or people that remove files in the state"
        " folder. The alert ends by itself after six hours.",
    ),
    Alert(
        name="LivepickDiskFull",
        severity="critical",
        expr=f"""
            livepick_disk_free_bytes{{path_role!="watch"}} < {TIGHT_GIB:g} * 2^30
            and livepick_disk_size_bytes > 0
            {_TOLD_ONCE}
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="The {{ $labels.path_role }} disk of {{ $labels.instance }} is nearly full."
        " Free space now: otherwise picking will stop and wait.",
        runbook=f"Less than {TIGHT_GIB:g} GiB are free. Do at once what LivepickDiskAlmostFull"
        " says. No pick is lost: waiting micrographs are picked when there is space.",
    ),
    Alert(
        name="LivepickDiskAlmostFull",
        severity="warning",
        expr=f"""
            livepick_disk_free_bytes{{path_role!="watch"}} / livepick_disk_size_bytes
                < {LOW_FRACTION:g}
            {_TOLD_ONCE}
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="Less than a tenth of the {{ $labels.path_role }} disk of {{ $labels.instance }} is"
        " free. Free space today.",
        runbook="`output` is the disk of the coordinates, `state` that of the ledger, models and"
        " runs. The page names the folder. A disk with several roles is reported once, under the"
        " first of output, state and watch. `livepick models prune` removes old models; usually,"
        " raw movies fill a disk. A watched disk that is nearly full is only reported on the page:"
        " a file server may stay like this for years. `LivepickDiskFillsSoon` fires if its space"
        " is running out.",
    ),
    Alert(
        name="LivepickDiskFillsSoon",
        severity="warning",
        expr=f"""
            predict_linear(livepick_disk_free_bytes[1h], seconds(4h)) < 0
            and livepick_disk_size_bytes > 0
            {_TOLD_ONCE}
            """,
        lasting="15m",
        dashboard="pipeline",
        summary="At the current rate, the {{ $labels.path_role }} disk of {{ $labels.instance }}"
        " will be full within four hours. Free space before the night.",
        runbook="The forecast is a straight line through the last hour. livepick itself writes"
        " little; the session or its motion correction fills the disk. Move finished sessions.",
    ),
)

"""Alerts on the service of an instrument, which finds its sessions and runs a process for each."""

from observability.alert import Alert

__all__ = ["INSTRUMENT_ALERTS"]

INSTRUMENT_ALERTS = (
    Alert(
        name="LivepickSessionsFolderGone",
        severity="critical",
        expr="livepick_instrument_folder_readable == 0",
        after_the_end=True,
        lasting="1m",
        dashboard="session",
        summary="The folder of all sessions of {{ $labels.instance }} is missing, cannot be read,"
        " or does not answer: no new session is found. Mount it again; livepick then continues by"
        " itself.",
        runbook="It is the folder above `{session}` in `sessions.pattern`; the overview says what"
        " is wrong. Is the share mounted, does `ls` on it answer, and can the user `livepick`"
        " list it? Nothing is lost: when the folder returns, all sessions are found again. A folder"
        " that has not been there yet does not fire this alert.",
    ),
    Alert(
        name="LivepickSessionNotPicked",
        severity="critical",
        expr="livepick_instrument_sessions_not_picked > 0",
        after_the_end=True,
        lasting="5m",
        dashboard="session",
        summary="{{ $value }} of the sessions of {{ $labels.instance }} cannot be picked (cause:"
        " {{ $labels.cause }}). The overview says which, and what to do; the other sessions go on.",
        runbook="The overview and `livepick list CONFIG` name the session, the reason and the"
        " remedy. Cause `config`: its `session.yaml` or its `livepick.yaml` has a fault, `livepick"
        " check CONFIG --session NAME` names the line. `crashes`: its process has ended"
        " unexpectedly three times in a row, its log says why. `folder`: its folder cannot be"
        " read any more. `ports`: all ports of `sessions.ports` are in use; give a larger range, or"
        " end sessions. `state`: its state folder cannot be written, as on a full disk. All are"
        " tried again by themselves.",
    ),
    Alert(
        name="LivepickSessionSettingsRefused",
        severity="warning",
        expr="livepick_instrument_session_settings_refused > 0",
        after_the_end=True,
        lasting="5m",
        dashboard="session",
        summary="The livepick.yaml of {{ $value }} of the sessions of {{ $labels.instance }} has a"
        " fault and is not applied. The overview names the file and the line; the last good config"
        " is in use.",
        runbook="A typing error, or a setting that `sessions.allow` of the instrument does not"
        " list. The session is picked with its last good config meanwhile, which may be that of the"
        " instrument: check the diameter. It is read again after each edit.",
    ),
    Alert(
        name="LivepickSessionWaitsForTurn",
        severity="warning",
        expr="livepick_instrument_sessions_waiting_for_turn > 0",
        after_the_end=True,
        lasting="30m",
        dashboard="session",
        summary="{{ $value }} of the sessions of {{ $labels.instance }} collects and is not picked,"
        " because others have the turn. End a session that is over, or raise sessions.at_once.",
        runbook="`sessions.at_once` sessions pick at a time, the one that began last first. The"
        " others are picked once that is quiet for `sessions.quiet_minutes`, or over: nothing is"
        " lost. If two microscopes write into one folder, raise `sessions.at_once`; each session"
        " needs the memory of its `picking.workers`.",
    ),
)

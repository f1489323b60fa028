"""Alerts on the service itself: it does not respond, or refuses its config."""

from observability.alert import AT_REST, Alert

__all__ = ["SERVICE_ALERTS"]

SERVICE_ALERTS = (
    Alert(
        name="LivepickDown",
        severity="critical",
        expr=f'up{{job=~"livepick.*"}} == 0 unless on (job, instance) {AT_REST} == 1',
        after_the_end=True,
        lasting="2m",
        dashboard="session",
        summary="livepick on {{ $labels.instance }} does not respond: nothing is picked."
        " On its machine: systemctl status livepick, and start it.",
        runbook="The service is down, or Prometheus cannot reach it. `systemctl status livepick`"
        " and `journalctl -u livepick` say why. Status 78: the config is invalid, fix it. Status"
        " 75: another service uses the state folder. If the service is active, compare"
        " `web.listen` with the scrape config. Nothing is lost: the service continues where it"
        " was. A service that was stopped on purpose (`systemctl stop`), or has exited with its"
        " session, does not fire this alert; a crash, a kill and a reboot do.",
    ),
    Alert(
        name="LivepickUnhealthy",
        severity="critical",
        expr="livepick_healthy == 0",
        after_the_end=True,
        lasting="1m",
        dashboard="pipeline",
        summary="A part of livepick on {{ $labels.instance }} hangs. systemd restarts it within"
        " two minutes; if not: systemctl restart livepick.",
        runbook="`/healthz` names the part. The usual cause is a file system that hangs: try `ls`"
        " on the watched folder and on the output folder. The watchdog of systemd restarts the"
        " service; without systemd, restart it yourself.",
    ),
    Alert(
        name="LivepickUnexpectedErrors",
        severity="warning",
        expr="sum without (part) (increase(livepick_unexpected_errors_total[1h])) > 0",
        after_the_end=True,
        lasting="0m",
        dashboard="pipeline",
        summary="livepick on {{ $labels.instance }} met a bug and passed over what caused it;"
        " everything else continues. Run livepick status: it names the file or the setting.",
        runbook="Nothing else stops, but the named micrograph, file or edit may be without its"
        " result. `journalctl -u livepick -g 'unexpected error'` has the details: please report"
        " them. If `/healthz` is 503 and names a part other than `dispatch`, `supervisor` and"
        " `watch`, every try of that part has failed for five minutes: restart livepick.",
    ),
    Alert(
        name="LivepickConfigRefused",
        severity="warning",
        expr="livepick_config_last_reload_successful == 0",
        after_the_end=True,
        lasting="5m",
        dashboard="session",
        summary="An edit of the config of {{ $labels.instance }} was refused; the previous settings"
        " are in use. Run livepick check: it names the line.",
        runbook="`livepick check CONFIG` names every fault with its line. Some settings need a"
        " restart; the page says which. While this alert fires, edits have no effect.",
    ),
)

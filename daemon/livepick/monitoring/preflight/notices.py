"""Checks of notices, and of the links in mails."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from livepick.config.notify_address import address_of
from livepick.config.schema import Config
from livepick.errors import ConfigError
from livepick.host.foreign_files import read_bounded
from livepick.host.loopback import is_loopback
from livepick.monitoring.preflight.check import Check

__all__ = ["links_in_mails", "notices"]

_PROMETHEUS = Path("/etc/prometheus")

MOST_FILES = 200
MOST_BYTES = 1 << 20
"""Limits of the search for livepick's alert rules."""


def notices(config: Config) -> Iterator[Check]:
    """Check that each address of ``notify`` is where the config says. Nothing is sent.

    The result is that of the user who runs the check; the service may be another one.
    """
    for target in config.notify.to:
        name = "notify"
        try:
            address_of(target)
        except ConfigError as error:
            # The environment of the service is not that of a terminal.
            is_fault = target.url is None
            yield Check(
                name,
                "fault" if is_fault else "warning",
                error.what.removeprefix("notify: "),
                error.remedy,
            )
            continue
        if target.url_file is not None and target.url_file.stat().st_mode & 0o007:
            yield Check(
                name,
                "warning",
                f"everybody can read {target.url_file}, which holds a secret address",
                f"chmod o= {target.url_file}",
            )
            continue
        yield Check(name, "ok", f"{target.name} (livepick notify-test sends a notice)")


def links_in_mails(config: Config) -> Iterator[Check]:
    """Check that links in mails lead to the page, if notices or alerts of this machine have any."""
    is_reachable = config.web.external_url is not None or not is_loopback(config.web.host)
    if is_reachable or not (config.notify.to or _has_alerts()):
        return
    yield Check(
        "links in mails",
        "warning",
        "web.external_url is not set and the page listens on the loopback address, so the link to"
        " it in notices and alerts leads nowhere",
        "Set web.external_url to the URL at which people see the page (deploy/README.md).",
    )


def _has_alerts() -> bool:
    """Return True if a Prometheus of this machine has livepick's alert rules."""
    with contextlib.suppress(OSError):
        for number, path in enumerate(_PROMETHEUS.rglob("*.y*ml")):
            if number >= MOST_FILES:
                break
            with contextlib.suppress(OSError):
                if b"LivepickDown" in read_bounded(path, limit_bytes=MOST_BYTES):
                    return True
    return False

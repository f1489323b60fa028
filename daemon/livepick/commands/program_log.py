"""The log of commands that run until they are stopped."""

import logging

from livepick.host.systemd import under_journal

__all__ = ["log_to_stderr"]

TIME = "%Y-%m-%d %H:%M:%S %z"
"""Form of the local time, with its offset from UTC."""

_SYSLOG_PRIORITY = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}


class _JournalFormatter(logging.Formatter):
    """Formatter that adds the priority as a prefix like ``<4>``, which the journal interprets."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _SYSLOG_PRIORITY.get(record.levelname, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def log_to_stderr() -> None:
    """Write livepick's log to stderr, and the warnings of libraries."""
    handler = logging.StreamHandler()
    if under_journal():  # the journal adds the time
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", TIME))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("livepick").setLevel(logging.INFO)

"""Paths, user and addresses of an installation, as ``livepick deploy`` fills them in."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from livepick.errors import LivepickError

__all__ = ["Site", "WebAddress", "installed_program", "python_folders"]

_PLAIN_PATH = re.compile(r"/[\w./+,@=-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_MAIL = re.compile(r"[\w.+-]+@[\w.-]+")
_HOST_PORT = re.compile(r"[\w.-]+:\d+")
_LABEL = re.compile(r"[\w.+-]+")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """URL of a server, in its parts."""

    scheme: str
    host_port: str
    """Host and port; the port of the scheme if the URL has none."""
    path: str
    """Path without a slash at its end; empty for the root."""

    @classmethod
    def of(cls, option: str, url: str) -> "WebAddress":
        """Take a URL apart.

        Raises
        ------
        LivepickError
            It is not one of http or https, or has parts that are not for here.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError:
            parts, port = urlsplit(""), 0
        plain = re.fullmatch(r"[\w.\[\]:/-]+", f"{parts.netloc}{parts.path}")
        if not (port and parts.hostname and plain) or parts.query or parts.fragment:
            raise LivepickError(
                f"{option} {url} is not a URL of a server",
                "Give it as http://HOST:PORT or https://HOST:PORT/PATH, without a password.",
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(parts.scheme, f"{host}:{port}", parts.path.rstrip("/"))


def installed_program() -> Path:
    """Return the command ``livepick`` of this Python."""
    return Path(sys.executable).parent / "livepick"


def python_folders() -> set[Path]:
    """Return the folders of this Python: that of the environment, and that which it was made of."""
    return {Path(sys.prefix), Path(sys.base_prefix).resolve()}


@dataclass(frozen=True, kw_only=True)
class Site:
    """Values that are filled into the deployed files.

    Raises
    ------
    LivepickError
        From the constructor: a value cannot stand in the files, or the program does not exist.
    """

    directory: Path
    """Folder that gets the files, absolute."""

    program: Path = field(default_factory=installed_program)
    """The command ``livepick``, absolute."""

    user: str = "livepick"
    """User that the service runs as, and its group."""

    config_folder: Path = Path("/etc/livepick")
    """Folder of the configs."""

    output_folders: tuple[Path, ...] = ()
    """Folders that the service may write to, besides /var/lib/livepick."""

    instrument: str = "krios1"
    """Label of the scrape target."""

    page_url: str = "http://127.0.0.1:9476"
    prometheus_url: str = "http://127.0.0.1:9090"
    alertmanager_url: str = "http://127.0.0.1:9093"
    grafana_url: str = "http://localhost:3000"

    runbook_url: str = ""
    """URL of the deployed README.md; empty: mails have no link to it."""

    mail_server: str = ""
    """``host:port`` of the mail server; empty: it stays an example, as do the addresses."""

    mail_from: str = ""
    mail_to: str = ""

    def __post_init__(self) -> None:
        paths = [
            ("DIR", self.directory),
            ("--program", self.program),
            ("--config-folder", self.config_folder),
            *(("--output-folder", folder) for folder in self.output_folders),
        ]
        for option, path in paths:
            if not _PLAIN_PATH.fullmatch(str(path)):
                raise LivepickError(
                    f"{option} {path} cannot stand in a unit file",
                    "Use an absolute path of letters, digits and . _ - + , @ =, without spaces.",
                )
        for option, value, pattern, form in (
            ("--user", self.user, _PLAIN_NAME, "the name of a user"),
            ("--instrument", self.instrument, _LABEL, "letters, digits and . _ + -"),
            ("--mail-server", self.mail_server, _HOST_PORT, "mail.example.org:587"),
            ("--mail-from", self.mail_from, _MAIL, "livepick@example.org"),
            ("--mail-to", self.mail_to, _MAIL, "staff@example.org"),
        ):
            if value and not pattern.fullmatch(value):
                raise LivepickError(f"{option} {value} has another form", f"Give it as {form}.")
        for option in ("page", "prometheus", "alertmanager", "grafana"):
            WebAddress.of(f"--{option}-url", getattr(self, f"{option}_url"))
        if not self.program.is_file():
            raise LivepickError(
                f"there is no {self.program}",
                "Name the installed command, such as --program /opt/livepick/bin/livepick.",
            )

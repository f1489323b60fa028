"""The files of ``deploy/`` with the paths, the user and the addresses of a site.

The shipped files are complete files for one site, ``/opt/livepick`` with the user ``livepick`` on
one machine. Each replacement exchanges one text of these; a test checks that the files have it.
"""

import fnmatch
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from livepick.deployment.shipped_files import deploy_files, example_config
from livepick.deployment.site import Site, WebAddress
from livepick.host.loopback import is_loopback

__all__ = ["DROP_IN", "FilledFile", "Replacement", "filled_files", "replacements"]

DROP_IN = "folders.conf"
"""Name of the drop-in with the folders that the service may write to."""

_ALERTS = "alerts/livepick.yml"
_PROMETHEUS = "prometheus/prometheus.yml"
_CONTAINERS = ("compose.yaml", "grafana/provisioning/*")
_PLACES = ("*.service", "*.md", "slurm/*", "hooks/*", "dask/*")


@dataclass(frozen=True, slots=True)
class FilledFile:
    """File to write."""

    text: str
    is_program: bool = False
    """True if it is to be executable."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Text that is exchanged in some of the files."""

    files: tuple[str, ...]
    """Globs of their paths below ``deploy/``."""
    old: str
    new: str

    def concerns(self, name: str) -> bool:
        """Return True if the text is exchanged in a file, by its path."""
        return any(fnmatch.fnmatchcase(name, glob) for glob in self.files)


def replacements(site: Site) -> list[Replacement]:
    """Return the replacements for a site, in their order."""
    return [
        Replacement(_PLACES, "/opt/livepick/bin/", f"{site.program.parent}/"),
        Replacement(_PLACES, "/opt/livepick/deploy", str(site.directory)),
        Replacement(_PLACES, "/etc/livepick/", f"{site.config_folder}/"),
        Replacement(("*.service",), "User=livepick\n", f"User={site.user}\n"),
        Replacement(("*.service",), "Group=livepick\n", f"Group={site.user}\n"),
        Replacement(("*.md",), "runuser -u livepick ", f"runuser -u {site.user} "),
        Replacement(("*.md",), "nologin livepick\n", f"nologin {site.user}\n"),
        # The same path in the container of Grafana as on this machine, for either.
        Replacement(
            _CONTAINERS, "/etc/livepick/dashboards", f"{site.directory}/grafana/dashboards"
        ),
        *_addresses(site),
        *_mail(site),
    ]


def _addresses(site: Site) -> list[Replacement]:
    page = WebAddress.of("--page-url", site.page_url)
    alerts = WebAddress.of("--alertmanager-url", site.alertmanager_url)
    datasources = ("grafana/provisioning/datasources/*",)
    job = "  - job_name: livepick\n"
    scrape = job
    if page.scheme == "https":
        scrape += "    scheme: https\n"
    if page.path:
        scrape += f"    metrics_path: {page.path}/metrics\n"
    target = '    - static_configs:\n        - targets: ["127.0.0.1:9093"]\n'
    sent = f'    - scheme: {alerts.scheme}\n      static_configs:\n        - targets: ["{{}}"]\n'
    if alerts.path:
        sent = sent.replace("\n", f"\n      path_prefix: {alerts.path}\n", 1)
    return [
        Replacement((_PROMETHEUS,), job, scrape),
        Replacement((_PROMETHEUS,), '["127.0.0.1:9476"]', f'["{page.host_port}"]'),
        Replacement((_PROMETHEUS,), "instrument: krios1\n", f"instrument: {site.instrument}\n"),
        Replacement((_PROMETHEUS,), target, sent.format(alerts.host_port)),
        Replacement(datasources, "http://127.0.0.1:9090", site.prometheus_url.rstrip("/")),
        Replacement(datasources, "http://127.0.0.1:9093", site.alertmanager_url.rstrip("/")),
    ]


def _mail(site: Site) -> list[Replacement]:
    file = ("alertmanager/*",)
    return [
        Replacement(file, old, new)
        for old, new in (
            ("mail.example.org:587", site.mail_server),
            ("smtp_from: livepick@example.org", f"smtp_from: {site.mail_from}"),
            ("cryoem-staff@example.org", site.mail_to),
            ("cryoem-oncall@example.org", site.mail_to),
        )
        if new and not new.endswith(": ")
    ]


def filled_files(site: Site) -> dict[str, FilledFile]:
    """Return the files to write for a site, by their path below its folder.

    Raises
    ------
    LivepickError
        The shipped files are missing.
    """
    exchanged = replacements(site)
    files = {"config.example.yaml": FilledFile(example_config().read_text())}
    for name, path in deploy_files().items():
        text = path.read_text()
        for one in exchanged:
            if one.concerns(name):
                text = text.replace(one.old, one.new)
        if name == _ALERTS:
            text = _with_links(text, site)
        files[name] = FilledFile(text, os.access(path, os.X_OK))
    if site.output_folders:
        services = [name for name in files if "/" not in name and name.endswith(".service")]
        files.update((f"{unit}.d/{DROP_IN}", FilledFile(_drop_in(site))) for unit in services)
    return files


def _with_links(rules: str, site: Site) -> str:
    """Return the alert rules with links to this site's runbooks and dashboards, if it has URLs.

    A path or the name localhost would lead nowhere in a mail.
    """
    grafana = site.grafana_url.rstrip("/")
    if is_loopback(urlsplit(grafana).hostname or ""):
        grafana = ""
    if not grafana and not site.runbook_url:
        return rules
    lines, alert = [], ""
    for line in rules.splitlines():
        lines.append(line)
        key, _, value = line.strip().removeprefix("- ").partition(": ")
        if key == "alert":
            alert = value
        elif key == "dashboard":  # the last of the annotations
            if site.runbook_url:
                lines.append(f"      runbook_url: '{site.runbook_url}#{alert.lower()}'")
            if grafana:
                board = f"{grafana}/d/{value}?var-instance={{{{ $labels.instance }}}}"
                lines.append(f"      dashboard_url: '{board}'")
    return "\n".join(lines) + "\n"


def _drop_in(site: Site) -> str:
    folders = " ".join(map(str, site.output_folders))
    return (
        "# Output folders of the sessions, written by livepick deploy --output-folder.\n"
        f"[Unit]\nRequiresMountsFor={folders}\n\n[Service]\nReadWritePaths={folders}\n"
    )

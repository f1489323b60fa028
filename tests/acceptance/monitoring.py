"""A real Prometheus that watches a session, with times divided so that minutes are seconds."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from free_port import free_port
from observability.alert import rules
from observability.alerts import ALERTS

SCRAPE = "300ms"


class Prometheus:
    """Debian's Prometheus on a livepick at an address.

    Parameters
    ----------
    program
        Its path.
    folder
        Where it may write.
    target
        host:port of livepick.
    scale
        How many times faster its rules are than those that are shipped.
    scrape
        Further settings of the scrape.
    own_disks
        Roles of the disks that only the test fills. How full another is, no test can say.
    slower
        Scales of alerts, by name, that need a cause several times in their window. How long it
        takes to cause it again depends on the machine.
    alertmanager
        host:port of an Alertmanager, which is told of the alerts.
    discover
        URL of further targets, which may change, or the settings of such a request.
    """

    def __init__(
        self,
        program,
        folder,
        *,
        target,
        scale,
        scrape=None,
        own_disks=(),
        slower=None,
        alertmanager="",
        discover="",
    ):
        folder.mkdir()
        self.own_disks = own_disks
        self.log = folder / "log"
        scales = {alert.name: scale for alert in ALERTS} | (slower or {})
        for each in set(scales.values()):
            alerts = [alert for alert in ALERTS if scales[alert.name] == each]
            (folder / f"rules-{each:g}.yml").write_text(rules(alerts, scale=each))
        config = {
            "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": ["rules-*.yml"],
            "scrape_configs": [
                {
                    "job_name": "livepick",
                    "scrape_timeout": SCRAPE,
                    **(scrape or {}),
                    "static_configs": [
                        {"targets": [target], "labels": {"instrument": "krios1"}},
                    ],
                }
            ],
        }
        if alertmanager:
            managers = [{"static_configs": [{"targets": [alertmanager]}]}]
            config["alerting"] = {"alertmanagers": managers}
        if discover:
            told = discover if isinstance(discover, dict) else {"url": discover}
            found = [{"refresh_interval": "1s", **told}]
            config["scrape_configs"][0]["http_sd_configs"] = found
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.address = f"http://127.0.0.1:{free_port()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.address.removeprefix('http://')}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + 60
        while not self._is_ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.1)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=60):  # noqa: S310 - ours
                return True
        except OSError:
            return False

    def close(self):
        """End it."""
        self.process.kill()
        self.process.wait()

    def ask(self, path, **values):
        """Return the answer of its HTTP interface; raise its refusals as errors."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(values)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{values}: {error.read().decode()}") from error

    def has_figures(self, expr):
        """Return True if an expression has a value now."""
        result = self.ask("query", query=expr)["result"]
        return any(each["value"][1] != "NaN" for each in result)

    def firing(self):
        """Return the names of the alerts that fire, but for disks that are not the test's own."""
        alerts = [each for each in self.ask("alerts")["alerts"] if each["state"] == "firing"]
        labels = [each["labels"] for each in alerts]
        own = {*self.own_disks, None}
        return {each["alertname"] for each in labels if each.get("path_role") in own}

    def until(self, *, fire=(), silent=(), seconds=120):
        """Wait until some alerts have fired and others are silent."""
        give_up = time.monotonic() + seconds
        to_come = set(fire)
        while True:
            firing = self.firing()
            to_come -= firing
            still = set(silent) & firing
            if not to_come and not still:
                return
            assert time.monotonic() < give_up, (
                f"{to_come} do not fire, {still} do not fall silent\n" + self.log.read_text()
            )
            time.sleep(0.2)

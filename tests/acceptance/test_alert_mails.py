"""Mails of a real Alertmanager with the shipped config, from a real instrument and Prometheus."""

import json
import re
import shutil
import time
import urllib.request

import pytest
import yaml
from alert_receivers import Mails, alertmanager
from monitoring import Prometheus

from day import Day, Plan
from webhook import webhook

PROGRAM, PROMETHEUS = shutil.which("prometheus-alertmanager"), shutil.which("prometheus")
SCALE = 100
"""A minute of the rules is 0.6 s."""

TIMES = {
    "group_wait: 30s": "group_wait: 3s",
    "group_interval: 5m": "group_interval: 3s",
    "repeat_interval: 12h": "repeat_interval: 1h",
}

pytestmark = [
    pytest.mark.skipif(
        PROGRAM is None or PROMETHEUS is None,
        reason="prometheus-alertmanager or prometheus is missing (Debian's packages)",
    ),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


@pytest.fixture
def day(tmp_path):
    """Return an instrument behind a proxy, whose sessions end by hand only."""
    made = Day(tmp_path, Plan(idle_seconds=36000))
    settings = yaml.safe_load(made.config.read_text())
    settings["sessions"]["output"] = str(tmp_path / "picks" / "{session}")
    settings["sessions"]["external_url"] = "https://cryoem.example.org/krios1/{port}/"
    settings["web"]["external_url"] = "https://cryoem.example.org/krios1/"
    made.config.write_text(yaml.safe_dump(settings))
    yield made
    made.end()


def until(condition, mails, seconds=120):
    """Wait for a condition; fail with all mails."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, mails.received
        time.sleep(0.2)


def suppressed(address):
    """Return the alerts that another one hides."""
    with urllib.request.urlopen(f"http://{address}/api/v2/alerts", timeout=60) as answer:
        alerts = json.load(answer)
    return {each["labels"]["alertname"] for each in alerts if each["status"]["inhibitedBy"]}


def test_a_mail_says_what_happened_where_and_what_to_do(day, tmp_path):
    """One for the instrument and its session, its end, a folder that is away, and a quiet stop."""
    with (
        Mails() as mails,
        webhook() as hook,
        alertmanager(
            PROGRAM,
            tmp_path / "am",
            mails=mails.address,
            hook=f"http://127.0.0.1:{hook.port}/livepick",
            times=TIMES,
        ) as manager,
    ):
        day.start()
        prometheus = Prometheus(
            PROMETHEUS,
            tmp_path / "prometheus",
            target=f"127.0.0.1:{day.port}",
            scale=SCALE,
            slower={"LivepickDown": 10},
            alertmanager=manager,
            discover=f"http://127.0.0.1:{day.port}/targets",
        )
        try:
            check(day, prometheus, manager, mails, hook.messages)
        finally:
            prometheus.close()


def check(day, prometheus, manager, mails, messages):
    """Cause alerts, and read their mails."""
    day.collect("s1", 0, 2)
    day.until(lambda: day.counts("s1").picked == 2, "picks")
    page = "https://cryoem.example.org/krios1/"
    of_session = f'page_url="{page}{day.overview()["s1"]["port"]}/"'
    until(lambda: prometheus.has_figures(f"livepick_session_info{{{of_session}}}"), mails)
    until(lambda: prometheus.has_figures("livepick_instrument_info"), mails)

    day.kill_service()
    until(lambda: any("session s1" in text for _, text in mails.to("cryoem-oncall")), mails)
    subject, text = next(each for each in mails.to("cryoem-oncall") if "session s1" in each[1])
    assert re.fullmatch(r"\[critical\] livepick krios1(, session s1)?: LivepickDown", subject)
    assert re.search(r"^critical, since \d+ \w+ \d\d:\d\d \S+, session s1$", text, re.MULTILINE)
    assert "does not respond: nothing is picked. On its machine: systemctl status" in text
    assert f"\npage: {page}{of_session.split('/')[-2]}/\n" in text
    assert "LivepickDown: The service is down, or Prometheus cannot reach it." in text
    assert "<" not in text

    day.start()
    until(lambda: any(subject.startswith("[over]") for subject, _ in mails.to("cryoem")), mails)
    subject, text = next(each for each in mails.to("cryoem") if each[0].startswith("[over]"))
    assert re.search(r"^over since .*: LivepickDown\nIt said: livepick on ", text, re.MULTILINE)
    assert "The service is down" not in text

    day.until(lambda: day.state_of("s1") == "picking", "it picks again")
    day.data.rename(day.data.with_name("away"))
    hidden = "LivepickWatchRootGone"
    until(lambda: hidden in suppressed(manager), mails)
    until(lambda: "LivepickSessionsFolderGone" in str(mails.to("cryoem-oncall")), mails)
    found = [text for _, text in mails.to("cryoem-oncall") if "SessionsFolderGone: It is" in text]
    assert f"\npage: {page}\n" in found[0]
    day.data.with_name("away").rename(day.data)
    prometheus.until(silent=["LivepickSessionsFolderGone", hidden])
    until(lambda: "resolved" in [each["status"] for each in messages], mails)
    assert {each["receiver"] for each in messages} == {"operator"}

    count = len(mails.received)
    day.stop()
    prometheus.until(silent=["LivepickDown"])
    down = f'min_over_time((up{{instance="127.0.0.1:{day.port}"}} == 0)[15s:300ms])'
    until(lambda: prometheus.has_figures(down), mails)  # more than LivepickDown takes to fire
    assert "LivepickDown" not in prometheus.firing()
    late = [subject for _, subject, _ in mails.received[count:]]
    assert [subject for subject in late if not subject.startswith("[over]")] == []

"""The shipped unit and the real daemon under a real systemd."""

import json

import pytest
from disc_micrographs import write_disc_micrograph
from real_systemd import SECONDS, prepare, run, shown

# The operator, as a second unit.
OPERATOR = r"""
cd /opt/test/out
show() {
    systemctl show livepick -p ActiveState -p Result -p StatusText -p NRestarts -p MainPID > $1
}
wait_for() {  # seconds, words in the status of the service
    for _ in $(seq $1); do sleep 1; show now; grep -q "$2" now && return; done
}
show started
grep -q ActiveState=active started || systemctl exit
cp micrographs/*.mrc /data/in/
wait_for 40 'picked 3/3'; show picked
ls /data/out > coordinates
for _ in $(seq 40); do sleep 1; [ "$(wc -l < /data/out/told)" -ge 3 ] && break; done
cp /data/out/told told
pid=$(sed -n s/MainPID=//p picked)
grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/$pid/status > confined
systemctl reload livepick; echo $? > reload
kill -STOP $pid
wait_for 40 NRestarts=1; wait_for 40 ActiveState=active; show after_watchdog
systemctl stop livepick; show stopped
sed -i 's/127.0.0.1:0/127.0.0.1:9476/' /etc/livepick/config.yaml
LD_LIBRARY_PATH=/opt/test/python/lib /opt/test/python/bin/python3 \
    -c 'import socket, time; s = socket.create_server(("127.0.0.1", 9476))
open("taken", "w").close(); time.sleep(600)' &
taken=$!
for _ in $(seq 300); do [ -e taken ] && break; sleep 0.1; done
systemctl start --no-block livepick
wait_for 60 'StatusText=waiting to start'; sleep 25; show waiting
kill $taken
wait_for 40 ActiveState=active; wait_for 20 'picked 3/3'; show continued
systemctl stop livepick
sed -i 's/diameter_angstrom:.*/diameter_angstrom: 1/' /etc/livepick/config.yaml
systemctl start livepick; sleep 8; show misconfigured
systemctl exit
"""

CONFIG = """
session: {name: test}
watch: {directories: [/data/in], settle_seconds: 0.3, rescan_seconds: 1}
particle:
  diameter_angstrom: 160
bootstrap: {micrographs: 1000}
picking: {device: cpu, workers: 1}
output: {directory: /data/out, on_picked: [/usr/bin/tee, -a, /data/out/told]}
state: {directory: /var/lib/livepick}
web: {listen: "127.0.0.1:0"}
"""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
def test_the_unit_keeps_its_promises(group, tmp_path):
    """Ready, picks, reload, watchdog, stop, a start that waits, none on a wrong config."""
    out = tmp_path / "out"
    (out / "micrographs").mkdir(parents=True)
    prepare(
        out,
        unit="livepick",
        shipped="livepick.service",
        config=("config.yaml", CONFIG),
        operator=OPERATOR,
        writes="/data/out",
    )
    for number in range(3):
        write_disc_micrograph(out / "micrographs" / f"mic_{number}.mrc", seed=number)
    run(group, out, ["/data/in", "/data/out"])

    assert shown(out, "started")["ActiveState"] == "active"
    assert shown(out, "picked")["StatusText"].startswith("picked 3/3, ")
    assert "mic_0_autopick.star" in (out / "coordinates").read_text()
    told = (out / "told").read_text().splitlines()
    assert sorted(json.loads(line)["micrograph"] for line in told) == [
        f"/data/in/mic_{number}.mrc" for number in range(3)
    ]
    confined = (out / "confined").read_text().split()
    assert confined[1::2] == ["0000000000000000", "1", "2"]
    assert (out / "reload").read_text() == "0\n"
    after = shown(out, "after_watchdog")
    assert (after["ActiveState"], after["NRestarts"]) == ("active", "1")
    stopped = shown(out, "stopped")
    assert (stopped["ActiveState"], stopped["Result"]) == ("inactive", "success")
    waiting = shown(out, "waiting")
    assert (waiting["ActiveState"], waiting["NRestarts"]) == ("activating", "0")
    assert "web.listen is 127.0.0.1:9476" in waiting["StatusText"]
    assert shown(out, "continued")["ActiveState"] == "active"
    wrong = shown(out, "misconfigured")
    assert (wrong["ActiveState"], wrong["NRestarts"]) == ("failed", "0")
    assert "particle.diameter_angstrom is the number 1;" in (out / "log").read_text()

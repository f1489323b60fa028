"""The shipped unit for an instrument under a real systemd: its sessions are its children."""

import json

import pytest
from disc_micrographs import write_disc_micrograph
from real_systemd import SECONDS, prepare, run, said, shown

CONFIG = """
sessions:
  pattern: /data/krios1/{session}/MotionCorr
  state: /var/lib/livepick/krios1/{session}
  output: /data/krios1/{session}/livepick
  at_once: 2
  rescan_seconds: 1
particle: {diameter_angstrom: 160}
watch: {settle_seconds: 0.3, rescan_seconds: 1}
bootstrap: {micrographs: 1000, picks: blob}
class_averages: {enabled: false}
picking: {device: cpu, workers: 1}
"""

DROP_IN = """
[Service]
ReadWritePaths=/data/krios1
"""

# livepick list says what the service says. A session's process is found by its config.
OPERATOR = r"""
cd /opt/test/out
unit=livepick@krios1
config=/etc/livepick/krios1.yaml
show() { systemctl show $unit -p ActiveState -p Result -p StatusText -p NRestarts -p MainPID > $1; }
sessions() { /opt/livepick/bin/livepick list $config --json > $1; }
process_of() { pgrep -f "exit-when-ended /var/lib/livepick/krios1/$1/" | sort -n | tail -1; }
main() { sed -n s/MainPID=//p $1; }
collect() {  # session, first letter of the micrographs
    mkdir -p /data/krios1/$1/MotionCorr && cp micrographs/$2*.mrc /data/krios1/$1/MotionCorr/
}
picked() {  # session, number
    for _ in $(seq 60); do
        sleep 1
        [ "$(ls /data/krios1/$1/livepick/*_autopick.star 2> /dev/null | wc -l)" = "$2" ] && return
    done
}
listed() {  # step, session, number: the figures of the overview are some seconds old
    for _ in $(seq 30); do
        sessions $1
        grep -A 8 "\"name\": \"$2\"" $1 | grep -q "\"picked\": $3," && return
        sleep 1
    done
}
processes() {  # step: those of both sessions, which start one after the other
    for _ in $(seq 60); do
        pgrep -fc exit-when-ended > processes_$1
        [ "$(cat processes_$1)" -ge 2 ] && return
        sleep 1
    done
}
restarted() {  # number of restarts
    for _ in $(seq 60); do
        sleep 1; show now
        grep -q NRestarts=$1 now && grep -q ActiveState=active now && return
    done
}
show started
grep -q ActiveState=active started || { systemctl exit; exit; }
mkdir -p /data/krios1; chown livepick /data/krios1
collect s1 a; collect s2 a; chown -R livepick /data/krios1
picked s1 2; picked s2 2
listed picked s1 2; listed picked s2 2
for _ in $(seq 30); do show picking; grep -q 's2 and s1 pick' picking && break; sleep 1; done
systemctl status --no-pager -l $unit > status 2>&1

systemctl reload $unit; echo $? > reload

before=$(process_of s1); process_of s2 > other_before; kill -9 $before
for _ in $(seq 30); do  # the pause after a crash is 5 s at first, and longer after each further one
    sessions crashed; grep -q '"state": "crashed"' crashed && break
    again=$(process_of s1); [ "$again" != "$before" ] && [ -n "$again" ] && kill -9 $again
done
collect s1 b; listed after_child s1 4; show main_after_child
process_of s2 > other_after

kill -9 $(main picking); restarted 1; show after_kill
collect s2 b; picked s2 4; processes after_kill

kill -STOP $(main after_kill); restarted 2; show after_watchdog
collect s1 c; picked s1 6; processes after_watchdog

systemctl stop $unit; show stopped
sleep 1; pgrep -u livepick -l > left; sessions when_stopped
systemctl start $unit; collect s2 c; listed again s2 6
systemctl restart $unit; show restarted; systemctl stop $unit
systemctl exit
"""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
def test_the_unit_of_an_instrument_keeps_its_promises(group, tmp_path):
    """Ready, children, reload, a kill of a child and of the service, watchdog, stop, restart."""
    out = tmp_path / "out"
    (out / "micrographs").mkdir(parents=True)
    prepare(
        out,
        unit="livepick@krios1",
        shipped="livepick@.service",
        config=("krios1.yaml", CONFIG),
        operator=OPERATOR,
        writes="/data/krios1",
        drop_in=DROP_IN,
    )
    for number, name in enumerate(("a1", "a2", "b1", "b2", "c1", "c2")):
        write_disc_micrograph(out / "micrographs" / f"{name}.mrc", seed=number)
    run(group, out, ["/data/krios1"])

    def sessions(step):
        values = json.loads(said(out, step))
        return {each["name"]: (each["state"], each["picked"]) for each in values["sessions"]}

    assert shown(out, "started")["ActiveState"] == "active"
    assert sessions("picked") == {"s1": ("picking", 2), "s2": ("picking", 2)}
    assert shown(out, "picking")["StatusText"] == "s2 and s1 pick."
    status = said(out, "status")
    for name in ("s1", "s2"):
        assert f"run --exit-when-ended /var/lib/livepick/krios1/{name}/session.yaml" in status
    assert said(out, "reload") == "0\n"

    assert sessions("crashed")["s1"][0] == "crashed"
    assert sessions("after_child")["s1"] == ("picking", 4)
    assert said(out, "other_after") == said(out, "other_before") != ""
    main = shown(out, "main_after_child")
    assert (main["NRestarts"], main["MainPID"]) == ("0", shown(out, "picking")["MainPID"])

    for step, restarts in (("kill", "1"), ("watchdog", "2")):
        after = shown(out, f"after_{step}")
        assert (after["ActiveState"], after["NRestarts"]) == ("active", restarts)
        assert said(out, f"processes_after_{step}") == "2\n"

    stopped = shown(out, "stopped")
    assert (stopped["ActiveState"], stopped["Result"]) == ("inactive", "success")
    assert said(out, "left") == ""
    assert {state for state, _ in sessions("when_stopped").values()} == {"waiting"}
    assert sessions("again")["s2"] == ("picking", 6)
    assert shown(out, "restarted")["ActiveState"] == "active"

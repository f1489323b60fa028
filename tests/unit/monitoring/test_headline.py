"""The headline of the page in each state of a session."""

import dataclasses
import re
from pathlib import Path

import pytest

from factories import make_row
from livepick.config.sections import WrittenParticle
from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.particle_state import ParticleState
from livepick.core.imaging.quality import Quality
from livepick.host.disks import Disk, Space
from livepick.ledger.rows import Counts, Hourly
from livepick.ledger.session_end import SessionEnd
from livepick.ledger.session_rows import SkippedFiles
from livepick.monitoring.headline import Headline, headline
from livepick.monitoring.health import Health
from livepick.monitoring.human_units import span
from livepick.monitoring.pace import pace_of
from livepick.monitoring.problem import Problem
from livepick.monitoring.status import Status
from livepick.monitoring.training_status import TrainingStatus

NOW = 100_000.0
WELL = Health(ok=True, seconds_since={"dispatch": 0.1, "watch": 2.0})
GONE = Problem("folder_gone", "bad", "/data/in is missing.", "Mount it again.")
NO_GPU = Problem("no_gpu", "attention", "No GPU is available.", "It is slower.")
BUSY = Status(session="test", started=True, counts=Counts(queued=1, picking=2, picked=412))
LATE = dataclasses.replace(BUSY, oldest_waiting_at=NOW - 1200, last_picked_at=NOW - 30)


@pytest.fixture
def say():
    """Return a function that makes the headline of a session with a micrograph every 20 s."""

    def said(
        status=BUSY,
        *,
        health=WELL,
        ago=10.0,
        picks=31,
        failed=0,
        count=50,
        judge=None,
        at_start=False,
    ):
        rows = [
            make_row(
                number,
                landed_at=NOW - ago - 20 * number,
                pick_count=None if number < failed else picks,
                state="failed" if number < failed else "picked",
                **(judge(number) if judge else {}),
            )
            for number in range(count)
        ]
        collected = [] if at_start else [row.landed_at for row in reversed(rows)]
        pace = pace_of(rows, Hourly(180, 179, 5580), collected=collected)
        return headline(status, health, pace, now=NOW, folders="/data/in")

    return said


def test_a_session_that_is_over_is_calm(say):
    """Hours without a micrograph, a folder that is gone and a backlog say nothing then."""
    end = SessionEnd("test", NOW - 3600, "person", "anna", Path("/out/r.html"), left=1)
    over = dataclasses.replace(LATE, end=end, problems=(GONE, NO_GPU))
    top = say(over, ago=30_000, failed=40)

    assert (top.level, top.others) == ("good", ())
    assert top.sentence.startswith("Session over since ")
    assert "(ended by anna): 412 of 415 micrographs picked." in top.sentence
    assert "Report: /out/r.html." in top.remedy
    assert "2 micrographs have landed since, and will not be picked." in top.remedy
    assert "1 micrograph was left without picks." in top.remedy
    assert "livepick end --undo" in top.remedy


def test_problems_of_the_latest_micrographs_end_with_what_they_are_about(say):
    """They stay for six hours without a micrograph, and end at once with the session."""
    quiet = dataclasses.replace(BUSY, last_picked_at=NOW - 5 * 3600)
    assert "bad" in str(say(quiet, ago=5 * 3600, judge=judged(bad=40)).problems)
    late = dataclasses.replace(BUSY, last_picked_at=NOW - 7 * 3600)
    assert say(late, ago=7 * 3600, judge=judged(bad=40)).problems == ()
    again = dataclasses.replace(late, last_picked_at=NOW - 60)  # picked again just now
    assert "bad" in str(say(again, ago=7 * 3600, judge=judged(bad=40)).problems)
    over = dataclasses.replace(quiet, end=SessionEnd("test", NOW - 60, "idle"))
    assert say(over, ago=5 * 3600, judge=judged(bad=40)).problems == ()


def test_what_matters_after_the_end_is_still_said(say):
    refused = Problem("config_refused", "attention", "The edit was rejected.", "Fix it.")
    over = dataclasses.replace(BUSY, end=SessionEnd("test", 0, "idle"), problems=(refused,))
    assert say(over).sentence == "The edit was rejected."
    assert say(over, health=Health(ok=False, seconds_since={"watch": 300.0})).level == "bad"


def test_a_session_that_is_ending_says_what_is_left(say):
    ending = dataclasses.replace(BUSY, is_ending=True)
    assert say(ending).sentence == ("The session is ending: 3 micrographs will still be picked.")
    done = dataclasses.replace(ending, counts=Counts(picked=412))
    assert say(done).sentence == "The session is ending: the closing report is being written."
    training = dataclasses.replace(done, training=TrainingStatus("training", ""))
    assert "the training in progress is finished first" in say(training).sentence


def test_all_well(say):
    """One sentence with the figures that matter, and nothing else."""
    top = say()

    assert top.level == "good"
    assert (
        top.sentence == "Collecting and picking: 412 of 415 micrographs, 31 picks per micrograph."
    )
    assert (top.remedy, top.doing, top.others) == ("", "", ())


def test_programs_get_the_cluster_with_the_headline(say):
    gpu = DeviceAside("GPU 1", "CUDA failure 999")
    node = NodeView("tls://n1:1", "w1", "n1", "refused", 2, 0, "old", "New.", gpus_aside=(gpu,))
    cluster = ClusterView("tls://n0:1", is_connected=True, nodes=(node,), retries={"lost": 2})
    for status in (BUSY, dataclasses.replace(BUSY, problems=(GONE,))):
        top = say(dataclasses.replace(status, cluster=cluster))
        assert top.cluster == cluster
        assert Headline.of_json(top.as_json()) == top
    with pytest.raises(ValueError, match="scheduler"):
        Headline.of_json(top.as_json().replace(b'"scheduler"', b'"other"'))


def test_before_the_first_micrograph(say):
    """The sentence names the watched folder."""
    top = say(Status(session="test", started=True), count=0)

    assert (top.level, top.sentence) == ("good", "Waiting for the first micrograph in /data/in.")


def test_before_the_first_micrograph_the_headline_says_which_files_wait(say):
    """They may wait for a file that their program never writes."""
    waiting = SkippedFiles("waiting", 6, "a.mrc", "until NAME.star is there")
    top = say(Status(session="test", started=True, skipped=(waiting,)), count=0)

    assert top.level == "good"
    assert top.sentence.endswith("(until NAME.star is there): 6, such as a.mrc.")


def test_while_the_particle_is_measured_nothing_is_picked_and_the_headline_says_so(say):
    particle = ParticleState.begin(WrittenParticle(diameter_angstrom="auto"))
    top = say(dataclasses.replace(BUSY, counts=Counts(queued=3), particle=particle))

    assert top.level == "good"
    assert top.sentence.startswith("Measuring the particle's size on the first micrograph")


def test_a_contradicted_number_is_the_headline(say):
    particle = dataclasses.replace(
        ParticleState.begin(WrittenParticle(diameter_angstrom=75)),
        contradiction="the particles look about 125 Å wide",
    )
    top = say(dataclasses.replace(BUSY, particle=particle))

    assert (top.level, top.kind) == ("attention", "particle_contradicted")
    assert "the particles look about 125 Å wide" in top.sentence


def test_a_stopped_acquisition(say):
    """It is reported after ten usual gaps and at least a quarter of an hour."""
    assert say(ago=800).level == "good"
    top = say(ago=2400)
    assert top.level == "attention"
    assert top.sentence == "No new micrograph for 40 min; before that, one every 20 s."
    assert "microscope" in top.remedy
    assert "livepick end CONFIG" in top.remedy
    assert top.doing.startswith("Picking: 412 of 415")


def test_a_session_of_yesterday_is_probably_over_and_no_problem(say):
    """How to end it is said, as in the alert for information."""
    top = say(ago=7 * 3600)

    assert (top.level, top.others) == ("good", ())
    assert "No new micrograph for 7 h: if the session is over, end it (livepick end" in top.sentence


def test_a_folder_that_has_not_been_created_yet_is_waited_for(say):
    first = Status(session="test", started=True, awaited=(Path("/data/in"),))
    top = say(first, count=0)
    assert (top.level, top.sentence) == (
        "good",
        "Waiting for the first micrograph in /data/in; /data/in does not exist yet.",
    )


def test_files_present_at_the_start_are_not_a_stalled_session(say):
    """Old data are picked, and no more are expected."""
    top = say(ago=2400, at_start=True)

    assert (top.level, top.sentence[:19]) == ("good", "Picking: 412 of 415")


@pytest.mark.parametrize(
    ("status", "options", "words"),
    [
        (BUSY, {"health": Health(False, {"dispatch": 1.0, "watch": 300.0})}, "from watch for 5"),
        (dataclasses.replace(BUSY, problems=(GONE,)), {}, "/data/in is missing"),
        (LATE, {}, "behind: 3 .* for 20 min"),
        (BUSY, {"failed": 9}, "9 of the last 50 micrographs failed"),
        (BUSY, {"picks": 0}, "The last 50 micrographs have no picks"),
    ],
)
def test_each_problem_comes_first_with_its_remedy(say, status, options, words):
    """The current activity is shown below it."""
    top = say(status, **options)

    assert top.level in ("attention", "bad")
    assert re.search(words, top.sentence)
    assert top.doing


def test_failures_are_reported_from_one_in_twenty(say):
    """Two failures may be single bad files."""
    assert say(failed=2).level == "good"
    assert say(failed=3).sentence == "3 of the last 50 micrographs failed."
    assert say(failed=2, count=4).level == "good"


def test_late_picks_are_severe_only_if_none_appear(say):
    """As in the alerts: late picks are a warning, stopped picking is critical."""
    assert say(LATE).level == "attention"
    top = say(dataclasses.replace(LATE, last_picked_at=NOW - 700))

    assert top.level == "bad"
    assert top.sentence == "Picking has stopped: 3 micrographs are waiting, the oldest for 20 min."
    assert top.doing.startswith("Picked so far")


def test_the_most_severe_problem_is_the_headline(say):
    """A missing folder explains missing micrographs; a missing GPU matters least."""
    top = say(dataclasses.replace(BUSY, problems=(NO_GPU, GONE)), ago=2400)

    assert (top.level, top.sentence) == ("bad", "/data/in is missing.")
    assert top.remedy == "Mount it again."
    assert top.doing.startswith("Picked so far: 412 of 415")
    assert [alert.kind for alert in top.others] == ["no_new_micrographs", "no_gpu"]


def test_a_problem_without_urgency_does_not_look_urgent(say):
    """Picking continues without a GPU."""
    top = say(dataclasses.replace(BUSY, problems=(NO_GPU,)))

    assert (top.level, top.sentence) == ("attention", NO_GPU.sentence)
    assert top.doing.startswith("Collecting and picking")


GIB = 2**30


@pytest.mark.parametrize(
    ("free_bytes", "level"),
    [(500 * GIB, "good"), (100 * GIB, "good"), (99 * GIB, "attention"), (GIB // 10, "bad")],
)
def test_a_filling_disk_is_named_once_with_all_its_folders(say, free_bytes, level):
    """The limits are those of the alert rule."""
    space = Space(free_bytes, 1000 * GIB, device=1)
    disks = (
        Disk("watch", Path("/data/in"), space),
        Disk("output", Path("/data/out"), space),
        Disk("state", Path("/var/lib"), Space(300 * GIB, 400 * GIB, device=2)),
    )
    top = say(dataclasses.replace(BUSY, disks=disks))

    assert (top.level, top.others) == (level, ())
    if level != "good":
        assert "with the watched and output folders" in top.sentence
        assert "of 1.0 TiB free at /data/in" in top.sentence
        assert "Free some space" in top.remedy


def test_a_full_disk_comes_before_a_filling_one(say):
    """The folders on the disks do not matter."""
    disks = (
        Disk("watch", Path("/data/in"), Space(50 * GIB, 1000 * GIB, device=1)),
        Disk("state", Path("/var/lib"), Space(0, 100 * GIB, device=2)),
    )
    top = say(dataclasses.replace(BUSY, disks=disks))

    assert (top.level, [other.level for other in top.others]) == ("bad", ["attention"])
    assert "with the state folder is full" in top.sentence


def test_a_failed_training_needs_attention(say):
    """Picking continues with the model in use."""
    top = say(
        dataclasses.replace(BUSY, training=TrainingStatus("failed", "Run 0001 failed: no memory."))
    )

    assert (top.level, top.sentence) == ("attention", "Run 0001 failed: no memory.")
    assert "livepick retrain" in top.remedy


def judged(*, bad=0, doubtful=0, bad_why=None):
    """Return a function that makes this many of the latest micrographs bad, and doubtful."""

    def figures(**why):
        return Quality(masked_fraction=0.0, median_score=0.9, **why)

    def judge(number):
        if number < bad:
            return {"quality_verdict": "bad", "quality": figures(**(bad_why or {"mottle": 12.0}))}
        if number < bad + doubtful:
            return {"quality_verdict": "doubtful", "quality": figures(anisotropy=0.3)}
        return {"quality_verdict": "good"}

    return judge


def test_many_bad_micrographs_are_reported_with_reason_and_remedy(say):
    """A single one is not reported; of several reasons, the most frequent is shown."""
    assert say(judge=judged(bad=10)).level == "good"
    top = say(judge=judged(bad=11))

    assert top.level == "attention"
    assert top.sentence == (
        "11 of the last 50 micrographs are bad: mottled, like crystalline or uneven ice, or"
        " particles wider than the diameter."
    )
    assert "another grid" in top.remedy


def test_doubtful_micrographs_are_reported_when_most_are_doubtful(say):
    """Bad ones count too."""
    assert say(judge=judged(doubtful=25)).level == "good"
    top = say(judge=judged(bad=1, doubtful=25))

    assert top.sentence == (
        "26 of the last 50 micrographs are bad or doubtful; most often: Thon rings"
        " weaker along one axis, as with drift."
    )
    assert "stage" in top.remedy


def test_an_unknown_reason_is_left_out(say):
    """Limits may change with an update, but the verdicts in the ledger stay."""
    top = say(judge=judged(bad=50, bad_why={"mottle": 1.0}))

    assert top.sentence == "50 of the last 50 micrographs are bad."
    assert "below" in top.remedy


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (600, "10 min"), (7300, "2 h"), (2e5, "2 days")],
)
def test_spans_are_short(seconds, words):
    assert span(seconds) == words


def test_files_left_out_are_a_problem_if_nothing_is_taken_or_they_cannot_be_read(say):
    """A link beside hundreds of micrographs is not; links alone are why nothing is picked."""
    links = SkippedFiles("link", 500, "a.mrc")
    few = SkippedFiles("product", 3, "b_ctf.mrc")
    top = say(Status(session="test", started=True, skipped=(few, links)), count=0)
    assert (top.kind, top.level) == ("files_left_out", "attention")
    assert "links, which are not followed: 500, such as a.mrc." in top.sentence
    assert top.remedy == "Set watch.follow_symlinks: true."
    assert say(dataclasses.replace(BUSY, skipped=(few, links))).level == "good"

    closed = SkippedFiles("unreadable", 2, "grid/", "Permission denied")
    top = say(dataclasses.replace(BUSY, skipped=(links, closed)))
    assert top.kind == "files_left_out"
    assert "(Permission denied): 2, such as grid/" in top.sentence


def not_trusted(count, *, fits, source=None):
    """Return a function that gives micrographs a CTF fit, of which ``count`` do not hold."""

    def judge(number):
        if number >= fits:
            return {}
        outcome = "not_trusted" if number < count else "trusted"
        reason = "no Thon rings above the noise" if number < count else None
        return {
            "ctf_source": source,
            "ctf_outcome": outcome,
            "ctf_score": 0.1,
            "ctf_reason": reason,
        }

    return judge


def test_ctf_fits_that_say_nothing_new_are_not_reported(say):
    """Too large pixels, bad micrographs, and those without picks: their own lines report them."""

    def spoilt(**values):
        return lambda number: not_trusted(40, fits=40)(number) | values

    assert say(judge=spoilt(ctf_outcome="not_fitted", ctf_score=None)).level == "good"
    assert say(judge=spoilt(quality_verdict="bad")).kind == "poor_quality"
    assert say(picks=0, judge=not_trusted(40, fits=40)).kind == "no_picks"


def test_ctf_fits_that_do_not_hold_are_reported_when_they_are_most(say):
    """None is reported of a few; figures of another program do not count."""
    assert say(judge=not_trusted(20, fits=40)).level == "good"
    assert say(judge=not_trusted(9, fits=9)).level == "good"
    assert say(judge=not_trusted(40, fits=40, source="program")).level == "good"
    top = say(judge=not_trusted(21, fits=40))

    assert top.level == "attention"
    assert top.sentence == (
        "The CTF fit does not hold for 21 of the last 40 micrographs; most often: no Thon rings"
        " above the noise."
    )
    assert "microscope.voltage_kv" in top.remedy

"""Parts of the page: verdicts, figures, disks and the running training."""

import dataclasses
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from starlette.datastructures import QueryParams

from factories import make_result
from livepick.config.measured_particle import ParticleMeasured
from livepick.config.sections import WrittenParticle
from livepick.core.contracts.before_and_after import (
    BEFORE_AND_AFTER,
    BeforeAndAfter,
    PickedByBoth,
)
from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.particle_state import ParticleExample, ParticleState
from livepick.core.evaluation.model_comparison import Comparison, Decision, Difference
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import Note
from livepick.core.imaging.ctf import Ctf, CtfFit
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.host.disks import Disk, Space
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter
from livepick.models.promotions import Promotion, append_promotion
from livepick.models.registry import MODELS
from livepick.monitoring.health import Health
from livepick.monitoring.status import read_status
from livepick.monitoring.training_status import TrainingStatus
from livepick.retraining.eta import RunProgress
from livepick.web.filter_query import FilterQuery
from livepick.web.micrograph_pages import MicrographPages
from livepick.web.page import Sections, Sources

GOOD = Quality(masked_fraction=0.05, median_score=0.9, contrast=3.0, anisotropy=0.05)
MOTTLED = dataclasses.replace(GOOD, mottle=12.0, ice_ring=1.5)
PICKS = Picks.sorted(*(np.array(a, dtype=np.float32) for a in ([40, 90], [30, 60], [0.9, 0.8])))
TIB = 2**40
NO_FILTER = FilterQuery.of(QueryParams(""))
UNSIGNED = Note("read_as_unsigned", "mode 0 < 7")
REPLACED = Note("bad_pixels", "3 pixels")


class Page:
    """The page of a session whose micrographs are picked by hand."""

    def __init__(self, config):
        self.config = config
        path = config.state.directory / LEDGER
        self.ledger = LedgerWriter(Database.writable(path))
        self.shared = Database.read_only(path)
        self.reader = LedgerReader(self.shared)
        self.known = {}
        """Values that only the running service knows."""

    def pick(self, name, quality, notes=()):
        self.ledger.arrivals.landed(Path("/in"), Path(name), FileVersion(1, 1, 1), time.time())
        (claim,) = self.ledger.claim(1)
        result = make_result(PICKS, shape_px=(128, 192), quality=quality, notes=notes)
        self.ledger.picked(claim, result)
        return claim.id

    @property
    def sources(self):
        def status():
            return dataclasses.replace(read_status(self.config, self.reader), **self.known)

        health = Health(ok=True, seconds_since={})
        queries = PageQueries(self.shared)
        return Sources(status, lambda: health, lambda: self.config, self.reader, queries)

    @property
    def sections(self):
        return Sections(self.sources)

    @property
    def micrographs(self):
        return MicrographPages(self.sources, has_actions=True)

    def part(self, name):
        return self.sections.parts()[name]

    def full(self, number):
        return self.micrographs.micrograph(number, NO_FILTER, whole=False)


@pytest.fixture
def page(make_config):
    """Return the page of a session without micrographs."""
    made = Page(make_config())
    with made.ledger.database, made.shared:
        yield made


def words_of(html):
    """Return the text of a part."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


class Bars(HTMLParser):
    """Finds progress elements."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "progress":
            self.found.append(dict(attrs))


def test_a_tile_has_a_verdict_if_it_is_not_good(page):
    """The tile has the verdict and a short reason; the full view has all reasons."""
    page.pick("good.mrc", GOOD)
    page.pick("mottled.mrc", MOTTLED)
    mottled, good = page.part("newest").split("</li>")[:2]

    assert words_of(good).startswith("good.mrc 2 picks · score 0.90")
    assert "bad" in words_of(mottled)
    assert "mottled, like crystalline or uneven ice" in words_of(mottled)
    assert "ring" not in words_of(mottled)  # a doubt, beside what is bad


def test_of_several_reasons_a_tile_has_the_first(page):
    """There is little space below a picture."""
    page.pick("empty.mrc", dataclasses.replace(GOOD, contrast=1.0, signal_fraction=0.01))

    words = words_of(page.part("newest"))
    assert "little more than noise, like an empty field, and 1 more" in words


def test_the_full_view_has_verdict_reason_and_figures(page):
    """Each known figure is shown with its limits; a good micrograph has no reason."""
    number = page.pick("mottled.mrc", MOTTLED)
    html = page.full(number)

    assert (
        "Bad : mottled, like crystalline or uneven ice, or particles wider than the diameter"
        " (12.0; bad from 6.0); a ring of crystalline ice (1.50; doubtful from 1.30)."
    ) in words_of(html)
    assert "mottle 12.0 bad" in words_of(html)
    assert "crystalline ice ring 1.50 doubtful" in words_of(html)
    assert "masked area 5%" in words_of(html)
    assert "contrast, (S + N) / N 3.00" in words_of(html)
    assert 'title="doubtful from 2.5, bad from 6.0"' in html
    assert "Good ." in words_of(page.full(page.pick("good.mrc", GOOD)))


def test_unknown_figures_are_not_shown(page):
    """Defocus is shown once a CTF file has it; unknown figures are not zero."""
    number = page.pick("a.mrc", GOOD)
    before = words_of(page.full(number))
    unknown = ("defocus", "astigmatism", "CTF", "mottle", "crystalline", "noise")
    assert not any(name in before for name in unknown)

    content = page.reader.get(number).content
    assert page.ledger.ctf.found(number, content, CtfFigures(12_500.0, 11_000.0, 30.0, 4.25))
    after = words_of(page.full(number))

    assert "defocus 1.18 µm CTF fit resolution 4.2 Å astigmatism 1500 Å doubtful" in after
    assert "Doubtful : strong astigmatism (1500 Å; doubtful from 1000 Å)." in after


def test_the_glance_counts_verdicts(page):
    """The verdicts of the session and of the latest micrographs are counted."""
    page.pick("good.mrc", GOOD)
    page.pick("bad.mrc", MOTTLED)

    words = words_of(page.part("glance"))
    assert "1 good , 0 doubtful , 1 bad of the last 2: 1 bad, 0 doubtful" in words


def test_a_name_is_text_in_a_reason_too(page):
    """File names are escaped everywhere, also in the search."""
    page.pick("<b>.mrc", MOTTLED)

    found = page.micrographs.found("mrc", whole=False)
    assert "<b>.mrc" not in found
    assert words_of(found).endswith("bad")


def test_the_free_space_of_each_disk_is_shown(page):
    """The folders on it are named; little space is shown in the colour of a fault."""
    page.known = {
        "disks": (
            Disk("watch", Path("/in"), Space(2 * TIB, 4 * TIB, 1)),
            Disk("output", Path("/out"), Space(2 * TIB, 4 * TIB, 1)),
            Disk("state", Path("/state"), Space(TIB // 20, TIB, 2)),
        )
    }
    html = page.part("glance")

    assert "Disk: watched, output 2.0 TiB free of 4.0 TiB" in words_of(html)
    assert "Disk: state 51 GiB free of 1.0 TiB" in words_of(html)
    assert '<b class="bad">51 GiB free</b>' in html
    assert "The disk with the state folder is almost full" in words_of(html)


def test_a_running_training_has_a_bar_and_a_time(page):
    """It is at the top and in its own part, with a label for screen readers."""
    progress = RunProgress("train", 12, 30, 0.25, 0.5, time.time() + 601)
    page.known = {"training": TrainingStatus("training", "Run 0002: train.", 2, progress)}

    for part in ("glance", "training"):
        html = page.part(part)
        assert "Run 0002: training , epoch 12 of 30, about 10 min left" in words_of(html)
        (bar,) = Bars(html).found
        assert (bar["value"], bar["max"]) == ("12", "30")
        assert bar["aria-label"] == "Run 2, training"
    assert "Step 5 of 9, training loss 0.250, held-out loss 0.500." in words_of(html)


def test_a_training_that_does_not_count_has_a_bar_without_an_end(page):
    """No remaining time is shown either."""
    progress = RunProgress("export")
    page.known = {"training": TrainingStatus("training", "Run 0002: export.", 2, progress)}
    html = page.part("training")

    (bar,) = Bars(html).found
    assert "value" not in bar
    assert " left" not in words_of(html)


def test_a_waiting_training_names_the_reason(page):
    """The bar stays where it is."""
    progress = RunProgress("train", 12, 30)
    sentence = (
        "Run 0002 is waiting and will continue by itself: there is no room left on the disk of /r."
    )
    page.known = {"training": TrainingStatus("training", sentence, 2, progress, waits=True)}

    assert sentence in words_of(page.part("training"))
    assert len(Bars(page.part("training")).found) == 1


def test_notes_on_odd_files_are_counted_and_shown_with_their_micrograph(page):
    odd = page.pick("a.mrc", GOOD, (UNSIGNED, REPLACED))
    page.pick("b.mrc", GOOD, (REPLACED,))
    plain = page.pick("c.mrc", GOOD)

    assert read_status(page.config, page.reader).as_json()["notes"] == {
        "bad_pixels": 2, "read_as_unsigned": 1,
    }  # fmt: skip
    words = words_of(page.part("failures"))
    assert "1 micrograph is read as unsigned, although the header says signed" in words
    assert "2 micrographs are with bad pixels that were replaced" in words
    assert "mode 0 &lt; 7; 3 pixels" in page.micrographs.micrograph(odd, NO_FILTER, whole=False)
    assert "Note" not in page.micrographs.micrograph(plain, NO_FILTER, whole=False)
    assert page.reader.get(odd).notes == "mode 0 < 7; 3 pixels"


def test_the_json_for_scripts_keeps_its_keys(page):
    """Disks, problems and the reason of a waiting run are not in the JSON."""
    page.pick("a.mrc", MOTTLED)
    status = read_status(page.config, page.reader)

    assert sorted(status.as_json()) == [
        "class_averages", "drift", "failures", "micrographs", "model", "notes", "particle",
        "particles", "quality", "repick_failures", "repicks_failed", "session", "session_end",
            "session_ending", "skipped",
        "training",
    ]  # fmt: skip
    assert json.loads(json.dumps(status.as_json()["quality"])) == {
        "good": 0, "doubtful": 0, "bad": 1,
    }  # fmt: skip


def example(diameter_angstrom):
    return ParticleExample(
        micrograph_id=7,
        content=1,
        diameter_angstrom=diameter_angstrom,
        contrast="dark",
        pixel_size_angstrom=2.0,
        height_px=1000,
        width_px=2000,
        positions=((900.0, 500.0), (40.0, 60.0)),
    )


def test_two_sizes_are_shown_with_the_question(page):
    """Both pictures show the same part of the micrograph, with circles of their sizes."""
    first, second = ParticleMeasured(80.0, "dark"), ParticleMeasured(120.0, "dark")
    page.known["particle"] = dataclasses.replace(
        ParticleState.begin(WrittenParticle(diameter_angstrom="auto")),
        used=first,
        best=first,
        second=second,
        asked_at=time.time(),
        examples=(example(80.0), example(120.0)),
    )
    html = page.part("glance")
    assert "Is the particle 80 Å or 120 Å wide?" in words_of(html)
    assert "set particle.diameter_angstrom: 80 or 120 in the config" in words_of(html)
    assert re.findall(r'class="picks" d="M900 500 40 60" stroke-width="([0-9.]+)"', html) == [
        "20.0",
        "30.0",
    ]
    boxes = set(re.findall(r'viewBox="([^"]+)"', html[html.index("examples") :]))
    assert boxes == {"480.0 80.0 840.0 840.0"}


def test_an_agreement_is_one_quiet_line(page):
    page.known["particle"] = dataclasses.replace(
        ParticleState.begin(WrittenParticle(diameter_angstrom=150)), micrographs=5, is_settled=True
    )
    assert "compared with 5 micrographs: no contradiction" in words_of(page.part("glance"))
    assert "<details" not in page.part("glance")


def test_the_figures_over_time_can_be_read_as_a_table(page):
    """Limits and the source of a CTF are named; a figure that is not known is left out in words."""
    number = page.pick("a.mrc", GOOD)
    content = page.reader.get(number).content
    ctf = CtfFigures(12_500.0, 11_000.0, 30.0, 4.25)
    page.ledger.ctf.fitted(number, content, fit_of(ctf), "settings")
    words = words_of(page.part("trends"))

    assert "Picks per micrograph 2 2 2 2 1" in words
    assert "Defocus, µm 1.18 1.18 1.18 1.18 1 all fitted here" in words
    assert "CTF fit resolution, Å 4.2 4.2 4.2 4.2 1 all fitted here doubtful from 8.0 Å" in words
    assert "No ice ring was measured" in words


def fit_of(figures):
    """Return a fit that is trusted."""
    ctf = Ctf(
        defocus_u_angstrom=figures.defocus_u_angstrom,
        defocus_v_angstrom=figures.defocus_v_angstrom,
        astigmatism_angle_degrees=figures.astigmatism_angle_degrees,
        voltage_kv=300.0,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.07,
        fit_resolution_angstrom=figures.ctf_resolution_angstrom,
    )
    return CtfFit(ctf=ctf, score=0.4)


def compared(page, name, *, version=None):
    """Record a promotion for which both models picked a micrograph."""
    state = page.config.state.directory
    (state / "models" / "0002").mkdir(parents=True)
    run = state / "runs" / "0002"
    run.mkdir(parents=True)
    (one,) = [row for row in page.reader.recent(-1) if row.relative.name == name]
    picked = PickedByBoth(
        one.path,
        version or one.version,
        50.0,
        make_result(PICKS),
        make_result(PICKS.where(np.array([0]))),
    )
    (run / BEFORE_AND_AFTER).write_bytes(BeforeAndAfter.of(2, 1, [picked]).to_bytes())
    figure = Difference(0.994, 0.9, 0.094, 0.05, 0.13)
    judgement = Judgement(
        2, 1, Decision(promote=True, outcome="better", sentence=""),
        Comparison(figure, figure, 222, 226, 1, 0.994),
    )  # fmt: skip
    page.ledger.session.run_changed(2, "f", "running")
    page.ledger.session.run_changed(2, "f", "promoted", judgement=judgement)


def test_a_promotion_says_what_it_changed(page):
    """Figures of both models, and both models' picks side by side."""
    number = page.pick("a.mrc", GOOD)
    compared(page, "a.mrc")
    html = page.part("training")
    words = words_of(html)

    assert "Before and after: model 2 took over from model 1" in words
    assert "picks per micrograph 1.0 2.0 +1.0" in words
    assert "median score of picks 0.90 0.85" in words
    assert "precision of the best 222 picks 0.900 0.994 +0.094" in words
    assert "average precision at the gate 0.900 0.994" in words
    assert "a.mrc : 1 only after, 0 only before before: 1 pick after: 2 picks" in words
    assert html.count(f"micrographs/{number}/thumbnail.png") == 2
    assert re.findall(r'class="picks only" d="([^"]*)"', html) == ["", "M90 60"]


def test_fewer_pairs_than_three_are_explained(page):
    """The gate can only show micrographs that were held out."""
    page.pick("a.mrc", GOOD)
    compared(page, "a.mrc")
    assert "There is one pair and not 3, because only 1 micrograph was held out" in words_of(
        page.part("training")
    )


def promoted_by_the_operator(page, version):
    """Record that a person has made a model the current one."""
    promotion = Promotion(
        version=version, at=time.time(), by="operator", why="it looks right", fingerprint="f"
    )
    append_promotion(page.config.state.directory / MODELS, promotion)


def test_a_model_that_the_operator_promotes_has_no_comparison_and_the_page_says_so(page):
    """The comparison at the gate is then not about the model that picks."""
    page.pick("a.mrc", GOOD)
    compared(page, "a.mrc")
    assert "operator" not in words_of(page.part("training") + page.part("models"))
    promoted_by_the_operator(page, 1)
    assert "Since then, the operator has promoted model 1" in words_of(page.part("training"))
    assert "goes back to takes over without a comparison" in words_of(page.part("models"))
    promoted_by_the_operator(page, 2)
    assert "Since then" not in words_of(page.part("training"))


def test_micrographs_that_cannot_be_fitted_are_counted_once_in_words(page):
    """With the reason, below the table of figures; each has it in its own view."""
    reason = "pixels of 4 Å are too large for a CTF fit, which needs 3 Å or less"
    fit = CtfFit(ctf=None, score=None, reason=reason, is_possible=False)
    for name in ("a.mrc", "b.mrc"):
        number = page.pick(name, GOOD)
        page.ledger.ctf.fitted(number, page.reader.get(number).content, fit, "settings")
    assert f"No CTF fit for 2 micrographs: {reason}." in words_of(page.part("trends"))
    assert f"No CTF: {reason}." in words_of(page.full(number))


def test_picks_are_not_drawn_over_another_content(page):
    """A micrograph that was written again is left out, and counted."""
    page.pick("a.mrc", GOOD)
    compared(page, "a.mrc", version=FileVersion(9, 9, 9))
    html = page.part("training")

    assert "thumbnail.png" not in html
    assert "picks per micrograph 1.0 2.0 +1.0" in words_of(html)
    assert "1 micrograph with the picks of both models cannot be shown" in words_of(html)


def test_a_file_system_that_renumbers_its_files_hides_no_example(page):
    """Runs keep the version of a file without its inode there."""
    page.pick("a.mrc", GOOD)
    compared(page, "a.mrc", version=FileVersion(1, 1, 0))
    assert "thumbnail.png" in page.part("training")


def test_times_have_a_zone(page, monkeypatch):
    """In words, wherever the browser is."""
    page.pick("a.mrc", GOOD)
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        html, whole = page.part("newest"), page.sections.page("http://krios1:{}/".format)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert re.search(r"\d\d:\d\d UTC\+2</time>", html)
    assert "times in UTC+2" in whole


@pytest.mark.parametrize(
    ("overview", "link"),
    [
        (":9850", "http://krios1:9850/"),
        ("https://cryoem.example.org/", "https://cryoem.example.org/"),
        (None, None),
    ],
)
def test_a_session_of_an_instrument_links_to_all_sessions(make_config, overview, link):
    made = Page(make_config(web={"overview_url": overview}))
    with made.ledger.database, made.shared:
        html = made.sections.page("http://krios1:{}/".format)
    assert (f'<a href="{link}">All sessions</a>' in html) == (link is not None)
    assert ("All sessions" in html) == (link is not None)


def test_the_full_view_stays_in_the_list_that_a_person_comes_from(page):
    """Its neighbours pass the filter, in the order of the list, and the way back leads there."""
    numbers = [page.pick(f"{name}.mrc", GOOD) for name in ("a_1", "b_1", "a_2", "b_2", "a_3")]
    query = FilterQuery.of(QueryParams("name=a_&sort=name&order=up&page=2"))
    html = page.micrographs.micrograph(numbers[2], query, whole=True)
    address = "?name=a_&amp;sort=name&amp;order=up&amp;page=2"
    assert f'href="../micrographs/{numbers[0]}{address}"' in html
    assert f'href="../micrographs/{numbers[4]}{address}"' in html
    assert f'href="../micrographs{address}"' in html
    assert "2 of 3 found" in words_of(html)
    ends = page.micrographs.micrograph(numbers[0], query, whole=True)
    assert 'rel="prev"' not in ends

    other = page.micrographs.micrograph(numbers[1], query, whole=True)
    assert "not in the list" in words_of(other)
    assert f"micrographs/{numbers[4]}?" in other  # where it would be: after a_3

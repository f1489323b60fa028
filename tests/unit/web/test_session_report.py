"""``livepick report``: a session as one file."""

import base64
import hashlib
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from factories import make_result, make_row
from livepick import cli
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality
from livepick.errors import MicrographError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.session_end import SessionEnd, write_session_end
from livepick.ledger.writer import LedgerWriter
from livepick.models.registry import MODELS, Models
from livepick.monitoring.human_units import clock
from livepick.monitoring.session_statistics import rank
from livepick.web.session_report import MOST_PICTURES, collect, to_html

HOSTILE = "<script>alert(1)</script>&.mrc"
PICKS = Picks.sorted(*(np.array(a, dtype=np.float32) for a in ([40, 90], [30, 60], [0.9, 0.4])))


@pytest.fixture
def ledger(tmp_path):
    """Return the writable ledger of a session; it stays open, as in a running service."""
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        opened = LedgerWriter(database)
        opened.session.begin("krios2")
        yield opened


@pytest.fixture
def land(ledger, write_mrc):
    """Return a function that writes a micrograph and lets it be picked, or fail."""

    def landed(name, *, contrast=2.0, error=None):
        path = write_mrc(name, centres=((30, 40),))
        ledger.arrivals.landed(path.parent, Path(name), FileVersion.of(path.stat()), time.time())
        (claim,) = ledger.claim(1)
        if error is None:
            quality = Quality(masked_fraction=0.1, median_score=0.9, contrast=contrast)
            ledger.picked(claim, make_result(PICKS, shape_px=(128, 192), quality=quality))
        else:
            ledger.failed(claim, error)
        return path

    return landed


def html_of(config, **options):
    return to_html(collect(config, "session: {name: test}  # <why>", **options)).decode()


def words_of(html):
    """Return the text of a report."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            SessionEnd("test", 0.0, "person", "anna, by livepick end"),
            "ended by anna, by livepick end",
        ),
        (SessionEnd("test", 0.0, "person", "anna, on the page"), "ended by anna, on the page"),
        (SessionEnd("test", 0.0, "person"), "ended by a person who edited its config"),
        (
            SessionEnd("test", 0.0, "idle", left=2),
            "ended by itself, as no more micrographs came for 6 h. 2 micrographs were left without",
        ),
    ],
)
def test_a_closing_report_says_on_top_when_and_by_whom_the_session_was_ended(
    make_config, land, end, words
):
    """So does a later report; one before the end says that the session is not over."""
    land("good.mrc")
    config = make_config(session={"name": "test", "end_after_hours": 6})
    assert "The session is not over" in words_of(html_of(config)).partition("micrographs 1")[0]
    said = words_of(html_of(config, end=end)).partition("micrographs 1")[0]
    assert f"The session is over since {clock(0.0)}, {words}" in said
    assert "not over" not in said
    write_session_end(config.state.directory, end)
    assert f"The session is over since {clock(0.0)}, {words}" in words_of(html_of(config))


def test_it_summarizes_the_session(make_config, land, ledger):
    """Counts, verdicts, the failure with its remedy, models, a run with its end, the settings."""
    land("good.mrc")
    land("empty.mrc", contrast=1.0)
    land("bad.mrc", error=MicrographError("it is a movie", "Give the sum."))
    ledger.session.run_changed(1, "f", "failed", reason="no memory")

    words = words_of(html_of(make_config()))

    for said in (
        "krios2", "micrographs 3", "particles 2", "failed 1", "1 good", "1 bad",
        "little more than noise", "it is a movie. Give the sum.", "Run 1: failed", "No memory.",
        "session: {name: test} # &lt;why&gt;",
    ):  # fmt: skip
        assert said in words


def test_it_loads_nothing(make_config, land, ledger, put_bundle):
    """Pictures, style and the one script are embedded, and the file forbids anything else."""
    config = make_config()
    land("a.mrc")
    bundle = put_bundle(Models(config.state.directory / MODELS), config, 1)
    (bundle / "curves.png").write_bytes(b"curves")
    ledger.session.run_changed(1, "f", "promoted", reason="")

    html = html_of(config)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (script,) = scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert script.startswith("/* uPlot v1.")
    assert "Permission is hereby granted" in script  # the licence of the library goes with it
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|import\(|https?://", script)
    html = html.replace(script, "")

    loaded = re.findall(r"""(?:src|href|srcset|data|action|poster)\s*=\s*["']?([^"'\s>]*)""", html)
    assert len(loaded) == 2
    assert all(place.startswith("data:image/png;base64,") for place in loaded)
    assert set(re.findall(r"url\(([^)]*)\)", html)) == {"#ring", "#ring-only"}
    assert not re.search(r"https?://|@import|<link", html)
    assert html.count("<script") == 2  # the other has data
    assert "default-src 'none'" in html


def test_the_plots_have_all_micrographs(make_config, land):
    """Their data are in the file; a reader that runs no script has a table of them."""
    for name in ("a.mrc", "b.mrc"):
        land(name)
    html = html_of(make_config())

    (text,) = re.findall(r'id="timeline-data">(.*?)</script>', html)
    data = json.loads(text)
    assert data["micrographs"] == 2
    assert [figure["name"] for figure in data["figures"]] == ["pick_count", "median_score"]
    assert re.search(r"Picks per micrograph 1 1 1 1 2", words_of(html))
    assert "No defocus is known" in words_of(html)


def test_names_are_text(make_config, land, ledger, tmp_path):
    """File names and errors come from other programs."""
    (tmp_path / HOSTILE).parent.mkdir(parents=True)
    land(HOSTILE)
    land("<b>.mrc", error=MicrographError("it is <i>gone", "Look & see."))
    html = html_of(make_config())

    assert "<script>alert" not in html
    assert "<b>.mrc" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;.mrc" in html
    assert "it is &lt;i&gt;gone. Look &amp; see." in html


def test_a_session_that_has_not_begun_has_a_report(make_config):
    """A session without micrographs has one too."""
    config = make_config()
    assert "has not begun" in html_of(config)

    with Database.writable(config.state.directory / LEDGER) as database:
        LedgerWriter(database).session.begin("krios2")
        words = words_of(html_of(config))
    assert "micrographs 0" in words
    assert "No micrograph failed." in words


def test_a_missing_micrograph_has_a_reason_instead_of_a_picture(make_config, land):
    """Data may be moved after a session; the rest of the report stays."""
    land("a.mrc")
    land("b.mrc").unlink()

    html = html_of(make_config())

    assert html.count("data:image/png") == 1
    assert "No picture: " in html
    assert "data:image/png" not in html_of(make_config(), pictures=False)


def test_the_best_have_the_best_verdict_and_then_the_most_picks():
    """The worst are in the opposite order, and none is in both lists."""

    def row(number, verdict, picks):
        made = make_row(number)
        object.__setattr__(made, "quality_verdict", verdict)
        object.__setattr__(made, "pick_count", picks)
        return made

    rows = [
        row(1, "bad", 900), row(2, "good", 10), row(3, "doubtful", 5),
        row(4, "good", 300), row(5, "bad", 0), row(6, None, 999),
    ]  # fmt: skip

    ranking = rank(rows, 2)
    assert (ranking.best, ranking.worst) == ((4, 2), (5, 1))
    assert (rank(rows, 9).best, rank(rows, 9).worst) == ((4, 2, 3), (5, 1))
    assert (rank(rows[:1], 9).best, rank(rows[:1], 9).worst) == ((1,), ())


def test_figures_are_counted_by_their_limits():
    """Figures that no micrograph has are left out."""
    rows = [make_row(n, masked_fraction=f) for n, f in enumerate((0.1, 0.2, 0.4, 0.5, 0.9))]
    figures = {figure.name: figure for figure in rank(rows, 1).figures}

    masked = figures["masked area"]
    assert (masked.median, masked.doubtful, masked.bad) == ("40%", 2, 1)
    assert "defocus" not in figures


def test_a_figure_that_another_overrules_is_not_counted():
    """As in the verdict: low contrast is not a fault if particles are visible."""
    rows = [
        make_row(n, quality=Quality(0.0, None, contrast=1.2, skewness=s))
        for n, s in enumerate((0.0, 0.1, 0.9))
    ]
    figures = {figure.name: figure for figure in rank(rows, 1).figures}

    assert figures["contrast, (S + N) / N"].doubtful == 2


def test_ten_thousand_micrographs_take_seconds(make_config, land, ledger):
    """The file stays small too: pictures, failures and marks are bounded."""
    for number in range(MOST_PICTURES):
        land(f"{number}.mrc")
    columns = [row[1] for row in ledger.database.rows("pragma table_info(micrograph)")][1:]
    others = ", ".join("'x' || n.value || '.mrc'" if c == "relative" else c for c in columns)
    ledger.database.change(
        f"insert into micrograph ({', '.join(columns)}) select {others} from micrograph,"  # noqa: S608
        " (with recursive n(value) as (select 1 union all select value + 1 from n"
        " where value < 10000) select value from n) as n where id = 1"
    )

    html = html_of(make_config())

    assert "10,012" in html
    assert len(html) < 1_000_000


def test_the_command_writes_next_to_the_picks(tmp_path, config_file, land, capsys):
    """``--output`` changes the place; a place that cannot be written is an error."""
    path = config_file
    land("a.mrc")

    assert cli.main(["report", str(path)]) == 0
    assert (tmp_path / "out" / "session_report.html").read_text().startswith("<!doctype html>")
    assert cli.main(["report", str(path), "--output", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").is_file()
    capsys.readouterr()
    assert cli.main(["report", str(path), "--output", str(tmp_path / "no" / "r.html")]) == 1
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["out/session_report.html", "r.html"])
@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.usefixtures("land")
def test_the_command_does_not_replace_a_file_that_is_not_a_report(config_file, capsys, place, kind):
    path, tmp_path = config_file, config_file.parent
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "out").mkdir(exist_ok=True)
    if kind == "file":
        (tmp_path / place).write_text("precious")
    else:
        (tmp_path / place).symlink_to(precious)
    more = [] if place.startswith("out") else ["--output", str(tmp_path / place)]
    assert cli.main(["report", str(path), *more]) == 1
    assert place.rpartition("/")[2] in capsys.readouterr().err
    assert (tmp_path / place).read_text() == precious.read_text() == "precious"
    (tmp_path / place).unlink()
    for _ in range(2):  # it replaces its own
        assert cli.main(["report", str(path), *more]) == 0


def test_a_report_of_a_version_without_records_is_replaced(tmp_path, config_file, land):
    path = config_file
    land("a.mrc")
    old = tmp_path / "out/session_report.html"
    assert cli.main(["report", str(path), "--output", str(tmp_path / "r.html")]) == 0
    old.parent.mkdir(exist_ok=True)
    old.write_text((tmp_path / "r.html").read_text() + "<!-- old -->")
    assert cli.main(["report", str(path)]) == 0
    assert "<!-- old -->" not in old.read_text()

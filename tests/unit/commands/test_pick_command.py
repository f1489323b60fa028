"""``livepick pick``: micrographs picked without a service."""

import pytest

from factories import make_result, network_graph, publish_bundle
from livepick import cli
from livepick.core.contracts.bundle import read_card
from livepick.core.imaging.quality import Quality
from livepick.picking import tasks


@pytest.fixture
def pick(tmp_path, monkeypatch):
    """Return a function that picks two micrographs, and returns the exit status."""
    micrographs = [tmp_path / "a.mrc", tmp_path / "b.mrc"]
    for path in micrographs:
        path.touch()
    versions = iter(range(9))
    bundle = publish_bundle(tmp_path / "models")

    def answer(job):
        return make_result(model_version=version, model_kind="trained")

    def pick():
        nonlocal version
        version = next(versions)
        return cli.main(
            ["pick", str(bundle), *map(str, micrographs), "--output", str(tmp_path / "out")]
        )

    version = 0
    monkeypatch.setattr(tasks, "pick", answer)
    return pick


def test_what_it_wrote_before_is_replaced(pick, tmp_path):
    assert pick() == pick() == 0
    assert "model 1 (trained)" in (tmp_path / "out/a_autopick.star").read_text()
    assert "b_autopick.star" in (tmp_path / "out/autopick.star").read_text()


@pytest.mark.parametrize("name", ["a_autopick.star", "autopick.star"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_of_somebody_else_stays(pick, tmp_path, capsys, name, kind):
    """It is named, the other micrographs are picked, and the exit status says so."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out").mkdir()
    if kind == "file":
        (tmp_path / "out" / name).write_text("precious")
    else:
        (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    assert pick() == 1
    assert f"{name} is a {kind} that livepick did not write" in capsys.readouterr().err
    assert (tmp_path / "out" / name).read_text() == "precious"
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "out/b_autopick.star").is_file()


def test_curated_picks_stay(pick, tmp_path, capsys):
    assert pick() == 0
    (tmp_path / "out/a_autopick.star").write_text("curated")
    assert pick() == 1
    assert "was changed after livepick wrote it" in capsys.readouterr().err
    assert (tmp_path / "out/a_autopick.star").read_text() == "curated"


# --- another particle than the model's ------------------------------------------------------------


@pytest.fixture
def picking(tmp_path, monkeypatch):
    """Return a function that picks two micrographs with given words, and the jobs of the worker."""
    for name in "ab":
        (tmp_path / f"{name}.mrc").touch()
    jobs = []

    def pick(model, *words, occupied=(0.2, 0.2)):
        shares = iter(occupied)

        def answer(job):
            jobs.append(job)
            cards.append(read_card(job.bundle))
            quality = Quality(masked_fraction=0, median_score=None, occupied_fraction=next(shares))
            return make_result(quality=quality)

        monkeypatch.setattr(tasks, "pick", answer)
        files = [str(tmp_path / f"{name}.mrc") for name in "ab"]
        return cli.main(
            ["pick", str(model), *files, "--output", str(tmp_path / "out"), *map(str, words)]
        )

    cards = []
    pick.jobs, pick.cards = jobs, cards
    pick.bundle = publish_bundle(tmp_path / "models")  # for dark particles of 150 Å
    return pick


def test_a_model_is_scaled_to_the_diameter(picking, capsys):
    assert picking(picking.bundle, "--diameter", 300, "--contrast", "bright") == 0
    assert {(job.diameter_angstrom, job.contrast) for job in picking.jobs} == {(300.0, "bright")}
    assert picking(picking.bundle) == 0
    assert (picking.jobs[-1].diameter_angstrom, picking.jobs[-1].contrast) == (None, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("occupied", "words", "says"),
    [
        ((0.0, 0.3), (), ["in 1 of 2", "dark particles of 150 Å", "repeat it with --diameter"]),
        ((0.0, 0.01), (), ["in 2 of 2", "livepick diameter FILES..."]),
        ((0.0, 0.0), ("--diameter", "300"), ["dark particles of 300 Å", "--threshold"]),
        ((0.0, 0.0), ("--contrast", "bright"), ["bright particles of 150 Å"]),
        ((0.03, 0.0201), (), []),
    ],
)
def test_hardly_any_particles_are_said_in_words(picking, capsys, occupied, words, says):
    """The picks are written all the same, and the status is 0: the holes may be empty."""
    assert picking(picking.bundle, *words, occupied=occupied) == 0
    error = capsys.readouterr().err
    assert bool(error) == bool(says)
    for part in says:
        assert part in error


def test_micrographs_that_are_masked_all_over_say_nothing_about_the_model(picking, capsys):
    assert picking(picking.bundle, occupied=(None, None)) == 0
    assert capsys.readouterr().err == ""


def test_the_first_pickers_need_a_diameter_and_no_session(picking, tmp_path, monkeypatch, capsys):
    """Their bundles exist only for the time; the card is for the particle that is given."""
    shipped = publish_bundle(tmp_path / "package", network_graph(), kind="general", version=0)
    monkeypatch.setattr("livepick.commands.pick.SHIPPED", shipped)
    for word in ("general", "blob"):
        assert picking(word) == 2
        assert f"{word} needs --diameter" in capsys.readouterr().err
        assert picking(word, "--diameter", "90", "--contrast", "bright") == 0
        card = picking.cards[-1]
        assert (card.kind, card.diameter_angstrom, card.contrast) == (word, 90, "bright")
        assert card.edge_fraction == 0.05
        assert not picking.jobs[-1].bundle.exists()


def test_a_model_that_does_not_exist_is_named(picking, tmp_path, capsys):
    assert picking(tmp_path / "nowhere") == 1
    assert str(tmp_path / "nowhere") in capsys.readouterr().err

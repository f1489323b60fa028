"""``livepick pick``: micrographs picked without a service."""

import pytest

from factories import make_result
from livepick import cli
from livepick.picking import tasks


@pytest.fixture
def pick(tmp_path, monkeypatch):
    """Return a function that picks two micrographs, and returns the exit status."""
    micrographs = [tmp_path / "a.mrc", tmp_path / "b.mrc"]
    for path in micrographs:
        path.touch()
    versions = iter(range(9))

    def answer(job):
        return make_result(model_version=version, model_kind="trained")

    def pick():
        nonlocal version
        version = next(versions)
        return cli.main(
            ["pick", "bundle", *map(str, micrographs), "--output", str(tmp_path / "out")]
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

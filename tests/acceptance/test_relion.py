"""RELION extracts livepick's picks: every one, once, and in the right place.

The real RELION 3.1 extracts them. RELION 4 and 5 look them up in another way, which a reader here
repeats as their source (``preprocessing.cpp``) has it.
"""

import dataclasses
import shlex
import shutil

import numpy as np
import pytest
from relion_scene import EXTRACT, JOB, LIST, Project, picks_at

from factories import make_config, make_result
from livepick.config.output_sections import Output
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.star import star_word
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter
from livepick.picking.exports import make_outputs

needs_relion = pytest.mark.skipif(EXTRACT is None, reason="relion_preprocess is not installed")

PROVISIONAL_ARE_OFF_PX = 9


def moved(x, y):
    """Return a fault of a writer: every pick is moved."""

    def move(micrograph):
        picks = micrograph.picks
        xy = np.column_stack([picks.x_px + x, picks.y_px + y])
        return dataclasses.replace(micrograph, picks=picks_at(xy))

    return move


def rows_as_stored(micrograph):
    """Return a fault of a writer: the rows of a TIFF are not turned over."""
    return dataclasses.replace(micrograph, path=micrograph.path.with_suffix(".mrc"))


@needs_relion
@pytest.mark.parametrize(
    ("shape_px", "suffix", "linked"),
    [
        ((256, 256), ".mrc", False),
        ((255, 333), ".mrc", False),
        ((256, 300), ".mrc", True),
        ((256, 256), ".tif", False),
        ((331, 255), ".tif", False),
        ((255, 331), ".tiff", True),
    ],
)
def test_relion_extracts_every_pick_in_its_place(tmp_path, shape_px, suffix, linked):
    """To a tenth of a pixel, from livepick's job folder as it is."""
    project = Project(tmp_path, shape_px=shape_px, suffix=suffix, linked=linked)
    project.write_picks()

    project.assert_arrived(project.extract())


@needs_relion
def test_relion_reads_names_in_quotes(tmp_path):
    """RELION 3.1.3 does; the lists that livepick writes have such names in them."""
    project = Project(tmp_path, count=3)
    plain = project.names
    project.names = [f"MotionCorr/job002/Movies/{name}.mrc" for name in ("a 1", "é", "ö 2")]
    for old, new in zip(plain, project.names, strict=True):
        (project.folder / old).rename(project.folder / new)
        project.truth[new] = project.truth.pop(old)
    project.write_picks()
    before = list(project.names)
    project.names = [star_word(name) for name in before]
    assert all(name.startswith('"') for name in project.names)
    project.write_list()

    assert len(project.extract()) == sum(len(project.truth[name]) for name in before)


@needs_relion
def test_a_micrograph_without_picks_does_not_hold_up_the_others(tmp_path):
    project = Project(tmp_path)
    project.truth[project.names[1]] = project.truth[project.names[1]][:0]
    project.write_picks()

    project.assert_arrived(project.extract())


@needs_relion
@pytest.mark.parametrize(
    ("suffix", "spoil", "says"),
    [
        (".mrc", moved(1, 0), "px off in x"),
        (".mrc", moved(0, -1), "px off in y"),
        (".mrc", moved(-0.5, 0), "px off in x"),
        (".tif", moved(0, 1), "px off in y"),
        (".tif", rows_as_stored, "px off"),
    ],
)
def test_a_writer_that_is_a_pixel_off_is_found_out(tmp_path, suffix, spoil, says):
    """A check that passes everything would prove nothing."""
    project = Project(tmp_path, suffix=suffix)
    project.write_picks(spoil=spoil)

    with pytest.raises(AssertionError, match=says):
        project.assert_arrived(project.extract())


@needs_relion
def test_an_extraction_of_nothing_is_found_out(tmp_path):
    """RELION ends with status 0 where it finds no coordinates."""
    project = Project(tmp_path, count=1)
    project.write_picks()

    with pytest.raises(AssertionError, match="extracted no particles"):
        project.assert_arrived(project.extract(coordinates="External/other"))


def relion_5_takes(project, coord_list=f"{JOB}/autopick.star", micrographs=LIST):
    """Return the coordinates file that RELION 4 and 5 find for each micrograph, below the project.

    A micrograph is looked up in the list by the exact text of its name; one that is not there, or
    whose file does not exist, is passed over without a word.
    """
    files = dict(_table(project.folder / coord_list, "coordinate_files"))
    names = [row[0] for row in _table(project.folder / micrographs, "micrographs")]
    found = {name: files.get(name, "") for name in names}
    return {
        name: place for name, place in found.items() if place and (project.folder / place).exists()
    }


def _table(path, block):
    """Return the rows of a block, as far as RELION reads it: to the first empty line."""
    lines = path.read_text().partition(f"\ndata_{block}\n")[2].partition("loop_")[2].splitlines()
    rows = [line for line in lines[1:] if not line.startswith("_")]
    rows = rows[: next((i for i, row in enumerate(rows) if not row.strip()), len(rows))]
    return [shlex.split(row) for row in rows]


def may_be_imported(place):
    """Return True if RELION's Import takes a path: neither absolute nor out of the project."""
    return not place.startswith("/") and not place.startswith("../")


@pytest.mark.parametrize("linked", [False, True])
def test_relion_5_finds_every_micrograph_by_the_text_of_its_name(tmp_path, linked):
    project = Project(tmp_path, linked=linked)
    project.write_picks()

    taken = relion_5_takes(project)

    assert list(taken) == project.names
    folder = "Micrographs" if linked else "Movies"
    assert taken[project.names[1]] == f"{JOB}/{folder}/mic_001_autopick.star"
    assert all(may_be_imported(text) for row in taken.items() for text in row)


@pytest.mark.parametrize("prefix", ["./", "MotionCorr/job002/../job002/", "Movies 1/"])
def test_a_name_is_taken_from_relions_list_to_the_letter(tmp_path, prefix):
    """Another spelling of the same path is another micrograph for RELION."""
    project = Project(tmp_path)
    if prefix == "Movies 1/":
        (project.folder / "Movies 1").symlink_to(project.watched)
    first = project.names[0]
    rest = first.removeprefix("MotionCorr/job002/") if prefix != "./" else first
    (project.folder / LIST).write_text(
        (project.folder / LIST).read_text().replace(f"{first} ", f"'{prefix}{rest}' ")
    )
    project.write_picks()

    taken = relion_5_takes(project)

    assert list(taken) == [f"{prefix}{rest}", *project.names[1:]]


def test_absolute_names_are_not_found_by_relion_5(tmp_path):
    """As livepick writes them without a project: the reader here sees what went wrong before."""
    project = Project(tmp_path)
    (project.folder / "default_pipeline.star").unlink()
    outside = Output.model_validate({"directory": project.folder / JOB})
    project.write_picks(output=outside)

    assert relion_5_takes(project) == {}
    names = [row[0] for row in _table(project.folder / JOB / "autopick.star", "coordinate_files")]
    assert not any(may_be_imported(name) for name in names)


@needs_relion
def test_the_project_is_found_above_the_output_folder(tmp_path):
    """Without a word about RELION in the config."""
    project = Project(tmp_path, count=2)
    project.write_picks(output=Output.model_validate({"directory": project.folder / JOB}))

    project.assert_arrived(project.extract())
    assert list(relion_5_takes(project)) == project.names


@pytest.fixture
def repicked(tmp_path):
    """Return a function that makes a session which the blob picker has picked."""
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        yield lambda project, publish: RepickedSession(project, publish, LedgerWriter(database))


class RepickedSession:
    """The blob picker's picks of a session, which are replaced by those of a trained model."""

    def __init__(self, project, publish, ledger):
        self.project, self.ledger = project, ledger
        relion = project.output.relion.model_copy(update={"publish": publish})
        output = project.output.model_copy(update={"relion": relion})
        config = make_config(
            project.folder.parent,
            watch={"directories": [project.watched]},
            particle={"diameter_angstrom": 110},
            output=output.model_dump(),
        )
        self.outputs = make_outputs(
            lambda: config, self.ledger, roots=[project.watched], failed=lambda: None
        )
        for name in project.names:
            self.ledger.arrivals.landed(*project.seen(name), FileVersion(1, 1, 1), 0.0)
        self.pick(len(project.names), version=0, kind="blob")

    def pick(self, count, *, version, kind):
        """Pick micrographs as the dispatch loop does; provisional picks are in other places."""
        off_px = 0 if kind == "trained" else PROVISIONAL_ARE_OFF_PX
        for claim in self.ledger.claim(count):
            name = next(n for n in self.project.names if n.endswith(claim.relative.name))
            micrograph = self.project.picked(name)
            found = make_result(
                picks_at(self.project.truth[name] + off_px),
                model_version=version,
                model_kind=kind,
                shape_px=micrograph.shape_px,
                pixel_size_angstrom=micrograph.pixel_size_angstrom,
            )
            self.outputs.write(claim, found)
            self.ledger.picked(claim, found)
        self.outputs.sync(now=True)


@needs_relion
@pytest.mark.parametrize("publish", ["final", None])
def test_two_extractions_of_a_repicked_session_give_each_final_particle_once(
    tmp_path, repicked, publish
):
    """One in mid-session, and one at the end that goes on with it, which RELION never redoes."""
    project = Project(tmp_path)
    session = repicked(project, publish)
    session.ledger.requeue.stale(1, repick="provisional", threshold=0.5)
    session.pick(2, version=1, kind="trained")
    first = project.extract("--only_do_unfinished")
    assert set(first["rlnMicrographName"]) == set(project.names[:2])
    assert list(relion_5_takes(project)) == project.names[:2]

    session.pick(2, version=1, kind="trained")

    project.assert_arrived(project.extract("--only_do_unfinished"))
    assert list(relion_5_takes(project)) == project.names
    for ours in ("micrographs.star", "good_micrographs.star"):
        shutil.rmtree(project.folder / "Extract")
        (project.folder / "Extract" / "job005").mkdir(parents=True)
        project.assert_arrived(project.extract(micrographs=f"{JOB}/{ours}"))


@needs_relion
def test_published_provisional_picks_stay_in_an_extraction(tmp_path, repicked):
    """The reason for ``publish: final``: RELION never reads the better ones."""
    project = Project(tmp_path, count=2)
    session = repicked(project, "all")
    project.extract("--only_do_unfinished")
    session.ledger.requeue.stale(1, repick="provisional", threshold=0.5)
    session.pick(2, version=1, kind="trained")

    with pytest.raises(AssertionError, match="px off"):
        project.assert_arrived(project.extract("--only_do_unfinished"))

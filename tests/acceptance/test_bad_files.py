"""Files that are not micrographs beside good ones: each has its reason, and the good are picked."""

import gzip
import warnings

import mrcfile
import numpy as np
import tifffile

from chaos_check import LISTS

PIXEL_SIZE_ANGSTROM = 4.0
SIDE_PX = 384
INCOMPLETE_SECONDS = 4
"""Time after which an incomplete file is set aside."""


def settled(session, count):
    """Return True if ``count`` micrographs are picked or failed."""
    ended = [row for row in session.rows().values() if row.state in ("picked", "failed")]
    return len(ended) >= count


def write_image(path, image, *, pixel_size_angstrom=PIXEL_SIZE_ANGSTROM):
    """Write any array as MRC."""
    with warnings.catch_warnings(), mrcfile.new(path) as mrc:
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN and infinity, which are meant
        mrc.set_data(image)
        mrc.voxel_size = pixel_size_angstrom


def set_mode(path, mode):
    """Write a mode into the header of an MRC file."""
    with path.open("r+b") as file:
        file.seek(12)
        file.write(mode.to_bytes(4, "little"))


def noise(seed=0):
    return np.random.default_rng(seed).normal(0, 1, (SIDE_PX, SIDE_PX)).astype(np.float32)


def write_bad_files(folder, good):
    """Write one bad file of each kind; return the reason of each, except those that only wait."""
    (folder / "truncated.mrc").write_bytes(good[: len(good) // 2])
    (folder / "header_only.mrc").write_bytes(good[:1024])
    (folder / "zero_header.mrc").write_bytes(bytes(1024) + good[1024:])
    (folder / "zero_length.mrc").touch()
    (folder / "garbage.mrc").write_bytes(np.random.default_rng(0).bytes(len(good)))
    # A length of 2 GiB that is promised must not be allocated.
    (folder / "liar.mrc").write_bytes(good[:92] + (2**31 - 1).to_bytes(4, "little") + good[96:])
    write_image(folder / "nan.mrc", np.full((SIDE_PX, SIDE_PX), np.nan, np.float32))
    half_nan = noise()
    half_nan[: SIDE_PX // 2] = np.nan
    write_image(folder / "half_nan.mrc", half_nan)
    write_image(folder / "infinite.mrc", np.full((SIDE_PX, SIDE_PX), np.inf, np.float32))
    write_image(folder / "constant.mrc", np.full((SIDE_PX, SIDE_PX), 7, np.float32))
    movie = np.stack([noise(frame) for frame in range(3)])
    write_image(folder / "movie.mrc", movie)
    write_image(folder / "wrong_pixel_size.mrc", noise(), pixel_size_angstrom=1.0)
    write_image(folder / "complex.mrc", np.ones((SIDE_PX, SIDE_PX), np.complex64))
    write_image(folder / "packed.mrc", noise())
    set_mode(folder / "packed.mrc", 101)
    tifffile.imwrite(folder / "movie.tif", movie, photometric="minisblack")
    tifffile.imwrite(folder / "whole.tif", noise())
    whole = (folder / "whole.tif").read_bytes()
    (folder / "whole.tif").unlink()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "garbage.tif").write_bytes(b"II*\0" + np.random.default_rng(1).bytes(50_000))
    (folder / "folder.mrc").mkdir()
    return {
        "truncated.mrc": "incomplete",
        "header_only.mrc": "incomplete",
        "zero_header.mrc": "incomplete",
        "truncated.tif": "incomplete",
        "garbage.mrc": "header",
        "liar.mrc": "header",
        "complex.mrc": "header",
        "packed.mrc": "header",
        "nan.mrc": "content",
        "half_nan.mrc": "content",
        "infinite.mrc": "content",
        "constant.mrc": "content",
        "movie.mrc": "movie",
        "movie.tif": "movie",
        "wrong_pixel_size.mrc": "pixel_size",
    }


def test_bad_files_fail_for_their_own_reasons_and_good_ones_are_picked(make_session):
    """Nothing stops the session; a truncated file is picked once it is complete."""
    session = make_session(
        watch={"incomplete_timeout_seconds": INCOMPLETE_SECONDS},
        micrograph={"pixel_size_angstrom": PIXEL_SIZE_ANGSTROM},
    )
    names = session.drop(2)
    good = (session.landing / f"{names[0]}.mrc").read_bytes()
    expected = write_bad_files(session.landing, good)
    session.start()
    names += session.drop(2, first=3)
    tiff = session.folder / "tiff.tif"
    tifffile.imwrite(tiff, mrcfile.read(session.landing / f"{names[0]}.mrc"))
    tiff.rename(session.landing / tiff.name)  # complete, however long it took to write it
    names.append("tiff")
    total = len(expected) + len(names) + 1  # garbage.tif too

    session.until(lambda: settled(session, total), f"{total} settled")
    found = session.rows()

    assert {name: found[name].reason for name in expected} == expected
    # Bytes with the magic of TIFF may name a directory that is still to come.
    assert found["garbage.tif"].reason in ("header", "incomplete")
    assert len(found) == total  # the empty file waits, unseen, until something is in it
    assert "zero_length.mrc" not in found
    assert all(name in row.error for name, row in found.items() if row.state == "failed")
    assert {row.relative.stem for row in found.values() if row.state == "picked"} == set(names)
    assert all(12 <= len(session.star(name)) <= 20 for name in names)
    assert "worker died" not in session.log.read_text()

    completed = ["truncated", "zero_header", "zero_length"]
    for name in completed:
        (session.landing / f"{name}.mrc").write_bytes(good)
    names += completed
    session.until(lambda: session.picked() == len(names), "the completed ones picked")
    assert session.star("truncated") == session.star(names[0])
    assert session.stop() == 0
    files = {path.name for path in session.output.glob("[!.]*")}
    assert files == {*LISTS, *(f"{name}_autopick.star" for name in names)}


def write_odd_files(folder, good, image):
    """Write files with the image whose headers are odd; return the note of each."""
    (folder / "no_map.mrc").write_bytes(good[:208] + bytes(4) + good[212:])
    unsigned = np.clip(np.rint(128 + 20 * image / image.std()), 0, 255).astype(np.uint8)
    write_image(folder / "unsigned.mrc", unsigned.view(np.int8))
    write_image(folder / "nanometres.mrc", image, pixel_size_angstrom=PIXEL_SIZE_ANGSTROM / 1000)
    write_image(folder / "another_size.mrc", image, pixel_size_angstrom=1.0)
    few_nan, dead = image.copy(), image.copy()
    few_nan.ravel()[::701] = np.nan
    dead[SIDE_PX // 2] = 1e30
    write_image(folder / "few_nan.mrc", few_nan)
    write_image(folder / "dead.mrc", dead)
    (folder / "packed.mrc.gz").write_bytes(gzip.compress(good))
    return {
        "no_map": "no_map_word",
        "unsigned": "read_as_unsigned",
        "nanometres": "pixel_size",
        "another_size": "pixel_size",
        "few_nan": "bad_pixels",
        "dead": "bad_pixels",
    }


def test_odd_files_are_picked_like_the_ordinary_one_with_a_note(make_session):
    """Each kind of note is in the log once, and counted in a metric."""
    session = make_session(
        micrograph={"pixel_size_angstrom": PIXEL_SIZE_ANGSTROM, "trust": "config"}
    )
    [name] = session.drop(1)
    path = session.landing / f"{name}.mrc"
    notes = write_odd_files(session.landing, path.read_bytes(), mrcfile.read(path).copy())
    session.start()
    total = len(notes) + 2
    session.until(lambda: settled(session, total), f"{total} settled")

    found = {row.relative.name.partition(".")[0]: row for row in session.rows().values()}
    assert {row.state for row in found.values()} == {"picked"}
    assert {odd for odd, row in found.items() if row.notes} == set(notes)
    right = found[name].pick_count
    assert all(abs(row.pick_count - right) <= 0.1 * right + 1 for row in found.values())
    kinds = set(notes.values())
    # By kind: bad_pixels, no_map_word, pixel_size, read_as_unsigned.
    counted = [f'micrograph_notes_total{{kind="{kind}"}}' for kind in sorted(kinds)]
    session.until(lambda: list(map(session.figure, counted)) == [2, 1, 2, 1], "the counters")
    assert session.stop() == 0
    assert session.log.read_text().count("with such a note") == len(kinds)


def test_a_truncated_file_waits_until_it_grows_whole(make_session):
    """It does not fail before the time-out, and is picked after its last bytes."""
    session = make_session(watch={"incomplete_timeout_seconds": 600})
    session.start()
    [first] = session.drop(1)
    good = (session.landing / f"{first}.mrc").read_bytes()
    with (session.landing / "slow.mrc").open("wb") as file:
        file.write(good[:300_000])
        file.flush()
        [second] = session.drop(1, first=2)  # settles after the one that does not grow
        session.until(lambda: session.picked() == 2, "the whole ones")
        waiting = session.rows()
        file.write(good[300_000:])
    session.until(lambda: session.picked() == 3, "the grown one")

    assert sorted(waiting) == [f"{first}.mrc", f"{second}.mrc"]
    assert session.star("slow") == session.star(first)
    assert session.stop() == 0


def test_a_file_that_breaks_after_its_picks_loses_them(make_session):
    """A micrograph replaced by garbage fails, and its coordinates are removed."""
    session = make_session()
    session.start()
    names = session.drop(2)
    session.until(lambda: session.picked() == 2, "both picked")
    (session.landing / f"{names[0]}.mrc").write_bytes(b"not a micrograph" * 10_000)

    session.until(lambda: session.counts().failed == 1, "the broken one")

    assert session.stop() == 0
    assert session.rows()[f"{names[0]}.mrc"].reason == "header"
    files = {path.name for path in session.output.glob("[!.]*")}
    assert files == {*LISTS, f"{names[1]}_autopick.star"}
    assert f"{names[0]}.mrc" not in (session.output / "autopick.star").read_text()


def test_without_any_pixel_size_a_micrograph_is_refused_in_words(make_session):
    """With 0 in the header and none in the config, the error names the setting."""
    session = make_session()
    session.start()
    session.drop(1)
    write_image(session.landing / "unknown.mrc", noise(), pixel_size_angstrom=0.0)
    tifffile.imwrite(session.landing / "unknown_too.tif", noise())

    session.until(lambda: settled(session, 3), "3 settled")

    found = session.rows()
    assert found["mic_0001.mrc"].state == "picked"
    for name in ("unknown.mrc", "unknown_too.tif"):
        assert found[name].reason == "pixel_size"
        assert "micrograph.pixel_size_angstrom" in found[name].remedy
    assert session.stop() == 0

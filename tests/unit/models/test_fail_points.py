"""Kills and a full disk between every two system calls: a whole current model always remains.

A profiler sees each call of Python code into the operating system before it is made. A forked
process can therefore be ended there, as by ``kill -9``, or get the error of a full disk: the first
run at the first call, the next at the second, until one completes.
"""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from factories import promote
from livepick.core.contracts.bundle import GRAPH, bundle_name, publish, read_card
from livepick.errors import LivepickError, ModelError
from livepick.models.bundle_on_disk import verify_graph
from livepick.models.promotions import PROMOTIONS_FILE, read_promotions
from livepick.models.prune import prune
from livepick.models.registry import Models

WRITES = {"open", "mkdir", "write", "flush", "fsync", "replace", "rename"}
"""Calls that fail on a full disk."""

CHANGES = WRITES | {"__exit__", "chmod", "close", "flock", "rmdir", "unlink"}
"""Calls that may change the disk."""

KILLED, DONE, RAISED = 9, 0, 3


class FailPoint:
    """Stops the code at its n-th call into the operating system, from 0."""

    def __init__(self, number, *, names=None, error=None):
        self.number = number
        self.names = names
        self.error = error
        self.met = 0

    def __call__(self, _frame, event, called):
        """Be the profiler."""
        if event != "c_call" or not self._counts(called):
            return
        self.met += 1
        if self.met == self.number + 1:
            if self.error is None:
                os._exit(KILLED)
            raise self.error

    def _counts(self, called):
        modules = {called.__module__, type(getattr(called, "__self__", None)).__module__}
        if not modules & {"posix", "io", "_io", "fcntl"}:
            return False
        return self.names is None or called.__name__ in self.names


def in_a_process(action, point):
    """Run ``action`` with a fail point in a separate process; return its exit status."""
    child = os.fork()
    if child == 0:
        try:
            sys.setprofile(point)
            action()
            sys.setprofile(None)
        except BaseException:  # noqa: BLE001 - whatever it is, this process must not be a pytest
            os._exit(RAISED)
        os._exit(DONE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kills(action, *, least):
    """Yield after each run of ``action`` that was killed, one call later each time."""
    for number in range(1000):
        status = in_a_process(action, FailPoint(number, names=CHANGES))
        assert status in (KILLED, DONE)
        if status == DONE:
            assert number >= least, "the fail points were not met"
            return
        yield number


@pytest.fixture
def registry(tmp_path, config, put_bundle):
    """Return blob picker 0 and trained models 1 to 4; model 1 is promoted."""
    models = Models(tmp_path / "state" / "models")
    put_bundle(models, config, 0, "blob")
    for version in range(1, 5):
        put_bundle(models, config, version, graph=bytes(version) * 1000)
    promote(models, 1)
    return models


def whole(models):
    """Return the versions of the bundles, after checking each."""
    bundles = models.bundles()
    for bundle in bundles:
        verify_graph(bundle.path, bundle.card)
    numbered = {path.name for path in models.directory.iterdir() if path.name.isdigit()}
    assert numbered == {bundle.path.name for bundle in bundles}  # none is incomplete
    return [bundle.card.version for bundle in bundles]


def test_a_promotion_that_is_killed_leaves_a_whole_model(registry, config, caplog):
    """It is the old or the new one; the next promotion works, and removes leftovers."""
    seen = set()
    for _ in kills(lambda: promote(registry, 2), least=12):
        after = Models(registry.directory)
        seen.add(after.current(config).card.version)
        assert after.last_promotion().version == after.current(config).card.version
        assert read_promotions(registry.directory)[0].version == 1
        promote(after, 3)
        assert after.current(config).card.version == 3
        assert not list(registry.directory.glob(".livepick-*"))
        promote(after, 1)
    assert seen == {1, 2}
    assert caplog.records == []


def test_a_bundle_whose_removal_is_killed_never_counts_as_one(registry, config, caplog):
    """It is complete or hidden; the next call removes the rest."""
    registry.promote(4, by="operator", why="a test", fingerprint="f")
    spare = registry.directory.parent / "spare"
    shutil.copytree(registry.directory, spare)
    seen = set()
    for _ in kills(lambda: prune(registry, 1, config), least=12):
        after = Models(registry.directory)
        seen.add(tuple(whole(after)))
        assert after.current(config).card.version == 4
        prune(after, 1, config)
        assert whole(after) == [0, 1, 4]
        assert {path.name for path in registry.directory.iterdir()} == {
            "0000",
            "0001",
            "0004",
            PROMOTIONS_FILE,
        }
        shutil.rmtree(registry.directory)
        shutil.copytree(spare, registry.directory)
    assert seen == {(0, 1, 2, 3, 4), (0, 1, 3, 4), (0, 1, 4)}
    assert caplog.records == []


def test_a_publication_that_is_killed_leaves_no_half_bundle(registry, config, caplog):
    """The restarted trainer publishes it, and removes leftovers."""
    card = replace(read_card(registry.directory / "0002"), version=5)
    files = {GRAPH: bytes(2) * 1000, "report.json": b"{}"}
    seen = set()
    for _ in kills(lambda: publish(registry.directory, card, files), least=15):
        after = Models(registry.directory)
        seen.add(tuple(whole(after)))
        assert after.current(config).card.version == 1
        publish(registry.directory, card, files)
        assert whole(after) == [0, 1, 2, 3, 4, 5]
        assert not list(registry.directory.glob(".draft-*"))
        shutil.rmtree(registry.directory / "0005")
    assert seen == {(0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5)}
    assert caplog.records == []


# --- full disk ---------------------------------------------------------------------------


def refusals(action, *, least):
    """Yield the error of each run of ``action``, the disk full one call later each time.

    None for a run that completed in spite of the error.
    """
    for number in range(1000):
        point = FailPoint(number, names=WRITES, error=OSError(errno.ENOSPC, "No space left"))
        before = sys.getprofile()
        try:
            sys.setprofile(point)
            action()
        except LivepickError as error:
            sys.setprofile(before)
            yield error
        else:
            sys.setprofile(before)
            if point.met > number:
                yield None
                continue
            assert number >= least, "the fail points were not met"
            return


def test_a_promotion_on_a_full_disk_says_so_and_changes_nothing(registry, config):
    """The new model is current only if the last sync failed: it was in place already."""
    seen = []
    for error in refusals(lambda: promote(registry, 2), least=5):
        assert "No space left" in str(error)
        seen.append(Models(registry.directory).current(config).card.version)
        assert not list(registry.directory.glob(".livepick-*"))
    assert seen[0] == 1
    assert seen == sorted(seen)
    assert len(registry.promotions()) == 1 + seen.count(2) + 1


def test_a_publication_on_a_full_disk_says_so_and_leaves_nothing(registry, config):
    """The current model stays; once there is space, the same bundle can be published."""
    card = replace(read_card(registry.directory / "0002"), version=5)
    files = {GRAPH: bytes(2) * 1000, "report.json": b"{}"}
    for error in refusals(lambda: publish(registry.directory, card, files), least=8):
        if error is None:  # everything was already written
            assert whole(registry) == [0, 1, 2, 3, 4, 5]
            shutil.rmtree(registry.directory / "0005")
            continue
        assert isinstance(error, ModelError)
        assert "No space left" in str(error)
        assert "disk space" in error.remedy
        assert whole(registry) == [0, 1, 2, 3, 4]
        assert not list(registry.directory.glob(".draft-*"))
        assert registry.current(config).card.version == 1
    assert whole(registry) == [0, 1, 2, 3, 4, 5]


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a real file system of 256 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("only root can mount a tmpfs")
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run([umount, str(place)], check=True)


def fill(place):
    """Fill the disk of ``place``."""
    with contextlib.suppress(OSError), (place / "rest").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_disk_that_is_really_full_stops_no_picking(small_disk, config, put_bundle):
    """Publication and promotion fail with an error, and work once there is space."""
    models = Models(small_disk / "models")
    put_bundle(models, config, 0, "blob")
    put_bundle(models, config, 1)
    put_bundle(models, config, 2)
    promote(models, 1)
    fill(small_disk)

    with pytest.raises(ModelError, match=r"0003 could not be written.*No space left"):
        put_bundle(models, config, 3, graph=bytes(50_000))
    with pytest.raises(LivepickError, match=r"champion.json could not be written: No space left"):
        promote(models, 2)
    assert models.current(config).card.version == 1
    assert whole(models) == [0, 1, 2]
    assert {path.name for path in models.directory.iterdir()} == {
        *map(bundle_name, range(3)),
        PROMOTIONS_FILE,
    }

    (small_disk / "rest").unlink()
    put_bundle(models, config, 3, graph=bytes(50_000))
    promote(models, 3)
    assert models.current(config).card.version == 3

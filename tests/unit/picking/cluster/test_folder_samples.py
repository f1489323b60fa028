"""Another folder at the same path on a node is told from that of the service by its files."""

import asyncio
import dataclasses
import os
import shutil

import pytest

from livepick.core.contracts.node import FileSample, NodeCard
from livepick.picking.cluster import node_questions
from livepick.picking.cluster.folder_samples import MOST_FILES, is_other_folder, sample_files


@pytest.fixture
def folder(tmp_path):
    """Return a watched folder with a file in it, and one in a sub-folder."""
    root = tmp_path / "in"
    (root / "grid").mkdir(parents=True)
    (root / "mic_1.mrc").write_bytes(b"1")
    (root / "grid" / "mic_2.mrc").write_bytes(b"22")
    (root / "link.mrc").symlink_to(root / "mic_1.mrc")
    os.utime(root / "mic_1.mrc", (1000.0, 1000.0))
    return root


def test_files_of_the_folder_and_of_its_folders_are_taken(folder):
    """A few of them, and neither links nor folders; of a folder that is not there, none."""
    first, second = sample_files(folder)
    assert (first.root, str(first.path)) == (folder, "mic_1.mrc")
    assert (first.size_bytes, first.modified_at) == (1, 1000.0)
    assert str(second.path) == "grid/mic_2.mrc"
    for number in range(3 * MOST_FILES):
        (folder / f"{number}.mrc").touch()
    assert len(sample_files(folder)) == MOST_FILES
    assert sample_files(folder / "away") == ()


def test_the_same_folder_is_known_although_files_grow_and_go(folder):
    samples = sample_files(folder)
    assert not is_other_folder(samples)
    (folder / "mic_1.mrc").write_bytes(b"1111")
    assert not is_other_folder(samples)
    moved = [dataclasses.replace(samples[0], size_bytes=4, modified_at=_now(folder) + 1.5)]
    assert not is_other_folder(moved)  # an SMB server rounds
    (folder / "grid" / "mic_2.mrc").unlink()
    assert is_other_folder(samples)


def _now(folder):
    return (folder / "mic_1.mrc").stat().st_mtime


def test_files_of_the_same_name_do_not_make_it_the_same_folder(folder, tmp_path):
    """Files of the same size are told apart, too, as those of one camera."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for path in (other / "mic_1.mrc", other / "grid" / "mic_2.mrc"):
        os.utime(path, (5000.0, 5000.0))
    there = [dataclasses.replace(each, root=folder) for each in sample_files(other)]
    assert is_other_folder(there)


def test_a_node_that_sees_another_folder_is_refused_with_the_folder_and_a_file(folder, tmp_path):
    """Each of several watched folders counts; an empty one says nothing."""
    good = sample_files(folder)
    there = FileSample(tmp_path, good[0].path, 1, 1000.0)
    card = NodeCard(samples=(*good, there))
    assert asyncio.run(node_questions._mixed_up(NodeCard(samples=good))) == ""
    assert asyncio.run(node_questions._mixed_up(NodeCard())) == ""
    reason = asyncio.run(node_questions._mixed_up(card))
    assert reason.startswith(f"its {tmp_path} is another folder than that of the service, in which")
    assert "mic_1.mrc is not the same file. Mount the watched folder there" in reason

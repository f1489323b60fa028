"""The folders of bundles and of runs."""

from livepick.core.contracts.bundle import numbered_folders


def test_numbered_folders_are_in_the_order_of_their_numbers(tmp_path):
    """Drafts and files are left out."""
    for name in ("9999", "10000", "0002", ".draft-0003"):
        (tmp_path / name).mkdir()
    (tmp_path / "0004").touch()

    assert [path.name for path in numbered_folders(tmp_path)] == ["0002", "9999", "10000"]
    assert numbered_folders(tmp_path / "missing") == []

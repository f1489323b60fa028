"""Atoms from PDB and mmCIF files."""

import numpy as np
import pytest

from livepick.errors import TrainerError
from livepick_trainer.pretrain.structure_files import LEAST_ATOMS, read_structures


def positions(count, seed):
    return np.random.default_rng(seed).uniform(-80, 80, (count, 3)).round(3)


def pdb(atoms):
    line = "{:6}{:5d}  {:3} GLY A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00 20.00           C"
    rows = [line.format("ATOM", i % 99999, "CA", i, *atom) for i, atom in enumerate(atoms)]
    rows.insert(3, line.format("ATOM", 1, "CB", 1, 999, 999, 999))
    rows.append(line.format("HETATM", 1, "CA", 1, 999, 999, 999))
    rows += ["ENDMDL", line.format("ATOM", 1, "CA", 1, 999, 999, 999)]
    return "\n".join(rows)


def mmcif(atoms):
    names = ("group_PDB", "id", "label_atom_id", "Cartn_x", "Cartn_y", "Cartn_z")
    rows = [f"ATOM {i} P {x} {y} {z}" for i, (x, y, z) in enumerate(atoms)]
    rows.insert(2, 'ATOM 1 "C1\'" 999 999 999')
    rows.append("HETATM 1 CA 999 999 999")
    return "\n".join(["data_X", "loop_", *(f"_atom_site.{n}" for n in names), *rows, "#"])


def test_both_formats_give_one_atom_per_residue(tmp_path):
    one, two = positions(LEAST_ATOMS, 1), positions(LEAST_ATOMS + 5, 2)
    (tmp_path / "one.pdb").write_text(pdb(one))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "two.cif").write_text(mmcif(two))
    found = read_structures(tmp_path)
    assert [name.split()[0] for name in found] == ["one.pdb", "two.cif"]
    assert all(name.split()[1].startswith("sha256:") for name in found)
    np.testing.assert_allclose(next(iter(found.values())), one)
    np.testing.assert_allclose(list(found.values())[-1], two)


def test_peptides_and_copies_are_left_out(tmp_path):
    atoms = positions(LEAST_ATOMS, 1)
    (tmp_path / "first.pdb").write_text(pdb(atoms))
    (tmp_path / "same.cif").write_text(mmcif(atoms))
    (tmp_path / "peptide.pdb").write_text(pdb(atoms[:20]))
    assert [name.split()[0] for name in read_structures(tmp_path)] == ["first.pdb"]


def test_a_folder_without_structures_is_named(tmp_path):
    with pytest.raises(TrainerError, match=str(tmp_path)):
        read_structures(tmp_path)

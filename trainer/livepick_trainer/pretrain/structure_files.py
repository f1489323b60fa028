"""Atoms from PDB and mmCIF files, only as many columns as a shape needs.

livepick ships no structures. A training may use those in a folder: entries of the Protein Data Bank
are in the public domain (CC0), and several packages carry some for their own tests.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.errors import TrainerError

__all__ = ["read_structures"]

LEAST_ATOMS = 300
"""Smaller files are peptides, ligands or fragments."""

MOST_ATOMS = 20_000
"""Number of atoms that are kept; a shape at 20 pixels a particle needs no more."""

ATOMS = {"CA", "P"}
"""One atom for each residue of a protein, and for each nucleotide."""


def read_structures(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the positions of atoms, (N, 3) in ångström, of each structure in a folder.

    Files are read in the order of their names, and found in sub-folders too. Files that are too
    small, or repeat the atoms of an earlier one, are left out.

    Returns
    -------
    structures
        Positions by file name and digest: ``NAME sha256:…``.

    Raises
    ------
    TrainerError
        The folder has no structures.
    """
    found: dict[str, NDArray[np.float64]] = {}
    seen: set[tuple[int, float]] = set()
    paths = [path for path in folder.rglob("*") if path.suffix in {".pdb", ".ent", ".cif"}]
    for path in sorted(paths, key=lambda path: path.name):
        data = path.read_bytes()
        lines = data.decode("latin-1").splitlines()
        rows = _mmcif_rows(lines) if path.suffix == ".cif" else _pdb_rows(lines)
        atoms = np.array(list(rows), dtype=np.float64).reshape(-1, 3)
        key = (len(atoms), round(float(np.ptp(atoms, axis=0).sum()), 0) if len(atoms) else 0.0)
        if len(atoms) < LEAST_ATOMS or key in seen:
            continue
        seen.add(key)
        step = -(-len(atoms) // MOST_ATOMS)
        found[f"{path.name} sha256:{hashlib.sha256(data).hexdigest()[:16]}"] = atoms[::step]
    if not found:
        raise TrainerError(
            f"{folder} has no structures with at least {LEAST_ATOMS} residues",
            "Name a folder with PDB or mmCIF files, or leave the option out.",
        )
    return found


def _pdb_rows(lines: list[str]) -> Iterator[tuple[float, float, float]]:
    """Yield the positions in the first model of a PDB file, whose columns are fixed."""
    for line in lines:
        if line.startswith("ENDMDL"):
            return
        if line.startswith("ATOM  ") and line[12:16].strip() in ATOMS:
            yield float(line[30:38]), float(line[38:46]), float(line[46:54])


def _mmcif_rows(lines: list[str]) -> Iterator[tuple[float, float, float]]:
    """Yield the positions in the loop ``_atom_site`` of an mmCIF file."""
    names: list[str] = []
    columns: list[int] = []
    for line in lines:
        if line.startswith("_atom_site."):
            names.append(line.split()[0].removeprefix("_atom_site."))
        elif names and line.startswith("ATOM"):
            columns = columns or [
                names.index(n) for n in ("label_atom_id", "Cartn_x", "Cartn_y", "Cartn_z")
            ]
            words = line.split()
            if words[columns[0]].strip('"') in ATOMS:
                x, y, z = (float(words[column]) for column in columns[1:])
                yield x, y, z

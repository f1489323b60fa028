"""STAR files as other programs write and read them: RELION, gemmi and the starfile library."""

import re

import gemmi

RELION_AUTOPICK = """\
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
1 opticsGroup1

# version 30001

data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnAnglePsi #4
_rlnAutopickFigureOfMerit #5
  120.500000   30.250000            0    -999.00000     0.250000
   10.000000   20.000000            0    -999.00000     0.750000

"""
"""Coordinates file of a RELION picker."""

_TOKEN = re.compile(r"""(?P<quote>["'])(?P<quoted>.*?)(?P=quote)(?= |$)|(?P<plain>[^ ]+)""")


def relion_tokens(line):
    """Return the words of a line, as RELION 4 and later read them.

    Runs of blanks are one blank. A word that begins with a quotation mark ends at the same mark
    before a blank; one that begins with ``#`` is a comment.
    """
    words = []
    for found in _TOKEN.finditer(re.sub(" +", " ", line.replace("\t", " ")).strip(" ")):
        if (found["plain"] or "").startswith("#"):
            break
        words.append(found["plain"] if found["quote"] is None else found["quoted"])
    return words


def relion_table(text, name):
    """Return the columns and the rows of a table, as RELION reads them.

    RELION recognizes ``data_`` and ``loop_`` anywhere in a line, a column by the first character
    of the line, and ends the table at an empty line.
    """
    lines = iter(text.splitlines())
    for line in lines:
        if "data_" in line and line.partition("data_")[2].strip() == name:
            break
    else:
        raise AssertionError(f"no table data_{name}")
    assert any("loop_" in line for line in lines)
    columns, rows = [], []
    for line in lines:
        if line.startswith("_") and not rows:
            columns.append(line[1:].partition(" ")[0])
        elif not line.strip():
            break
        else:
            rows.append(relion_tokens(line))
            assert len(rows[-1]) == len(columns), line
    return columns, rows


def gemmi_column(text, block, column):
    """Return the texts of a column, as gemmi reads them."""
    table = gemmi.cif.read_string(text).find_block(block)
    return [gemmi.cif.as_string(value) for value in table.find_loop(f"_{column}")]

"""STAR files that we write, as RELION, gemmi, the starfile library and we ourselves read them."""

import pytest
import starfile
from star_readers import gemmi_column, relion_table

from livepick.core.formats.star import Table, star_file, star_tables, star_word

EVERYWHERE = [
    "MotionCorr/job002/Movies/a.mrc",
    "a b.mrc",
    "grid 1/a b c.mrc",
    "krypton-µg_é_粒子.mrc",
    "grid µ/é 1.mrc",
    "#1.mrc",
    "a#1.mrc",
    "a #1.mrc",
    "_a.mrc",
    "data_1.mrc",
    "loop_",
    "LOOP_a.mrc",
    "save_a.mrc",
    "global_a.mrc",
    "stop_",
    "$a.mrc",
    "[a].mrc",
    ";a.mrc",
    "?",
    "a.b.c.mrc",
    "a,b;c|d$e%f&g(h)i.mrc",
    "-1.mrc",
    "~a.mrc",
    "é",
    "x" * 240,
    "/data/x y/" + "粒" * 79 + ".mrc",
]
"""Names that all programs read back to the letter."""

APOSTROPHES = ["b's.mrc", "grid 1/b's.mrc", "Bob's grid/a.mrc", "'a.mrc", "'a b'", "a'", "b' c '"]
"""Names that the starfile library cannot read back."""


def text_of(name):
    """Return a file with the name in the first column of the second row."""
    rows = [["a.mrc", "1"], [star_word(name), "2"], ["z.mrc", "3"]]
    return star_file([Table(["rlnMicrographName", "rlnOpticsGroup"], rows, "micrographs")])


@pytest.mark.parametrize("name", EVERYWHERE + APOSTROPHES)
def test_names_are_read_back_by_relion_gemmi_and_ourselves(name):
    text, names = text_of(name).decode(), ["a.mrc", name, "z.mrc"]
    assert relion_table(text, "micrographs") == (
        ["rlnMicrographName", "rlnOpticsGroup"],
        [[name, str(number)] for number, name in enumerate(names, 1)],
    )
    assert gemmi_column(text, "micrographs", "rlnMicrographName") == names
    (table,) = star_tables(text)
    assert table.rows == [[name, str(number)] for number, name in enumerate(names, 1)]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_names_are_read_back_by_starfile(name, tmp_path):
    (tmp_path / "a.star").write_bytes(text_of(name))
    table = starfile.read(tmp_path / "a.star")
    assert table["rlnMicrographName"].tolist() == ["a.mrc", name, "z.mrc"]
    assert table["rlnOpticsGroup"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["b's.mrc", "grid 1/b's.mrc", "'a.mrc", "a'"])
def test_starfile_reads_the_other_rows_of_a_file_with_an_apostrophe(name, tmp_path):
    """It reads an apostrophe as a quotation mark. No quotes help if a blank follows it."""
    (tmp_path / "a.star").write_bytes(text_of(name))
    table = starfile.read(tmp_path / "a.star")
    assert table["rlnMicrographName"].tolist()[::2] == ["a.mrc", "z.mrc"]
    assert table["rlnOpticsGroup"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["Movies/a_1.mrc", "b's.mrc", "+1.5", "nan"])
def test_words_that_all_programs_read_have_no_quotes(name):
    assert star_word(name) == name


@pytest.mark.parametrize("name", ["Movies/é.mrc", "é", "粒子_1.mrc"])
def test_unicode_is_in_quotes(name):
    """Gemmi reads it only in quotes; RELION 3.1.3 reads both."""
    assert star_word(name) == f'"{name}"'


def test_an_empty_word_is_quoted():
    assert star_word("") == '""'


def test_each_table_ends_at_an_empty_line():
    """RELION stops reading there."""
    text = star_file([Table(["a"], [["1"]], "x"), Table(["b"], [], "y")], comment="of z").decode()
    assert text == (
        "\n# version 30001\n# of z\n\ndata_x\n\nloop_\n_a #1\n1\n\ndata_y\n\nloop_\n_b #1\n\n"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a 'b c' d # e", ["a", "b c", "d"]),
        ("""a "b's c" 'd"e' f's""", ["a", "b's c", 'd"e', "f's"]),
        ("""'b's c' x""", ["b's c", "x"]),
        ('a "#1" #2', ["a", "#1"]),
        ('"" x', ["", "x"]),
        ('"not closed x', ['"not', "closed", "x"]),
        ("\ta\t'b\tc'", ["a", "b\tc"]),
    ],
)
def test_a_quoted_word_ends_at_its_mark_before_a_blank(line, words):
    """As in the STAR standard, and in RELION 4 and gemmi."""
    columns = "".join(f"_c{number}\n" for number in range(len(words)))
    (table,) = star_tables(f"data_\nloop_\n{columns}{line}\n")
    assert table.rows == [words]

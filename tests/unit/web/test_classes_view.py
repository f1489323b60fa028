"""The view of class averages, for page and report."""

import dataclasses

import matplotlib.image
import numpy as np
import pytest

from factories import make_class_averages
from livepick.monitoring.class_status import ClassesStatus
from livepick.web.classes_view import view_classes
from livepick.web.jinja import render_template

ROW = make_class_averages(view_state="one_view", view_fraction=0.9, views=2)
STATUS = ClassesStatus(ROW, 100.0, 900.0, "<b>.mrc", "last.mrc", newer=2, model_version=1)


@pytest.fixture
def picture(tmp_path):
    """Return the path of a picture of 60 by 40 pixels."""
    folder = tmp_path / "classes" / "0003" / "result"
    folder.mkdir(parents=True)
    matplotlib.image.imsave(folder / "classes.png", np.zeros((40, 60)))
    return folder / "classes.png"


def test_the_picture_has_its_size_and_its_caption_says_of_when_it_is(tmp_path, picture):
    view = view_classes(STATUS, tmp_path)
    assert (view.width_px, view.height_px, view.is_warning) == (60, 40, True)
    html = render_template("classes.html", classes=view, picture="classes/3.png?v=1000")
    assert '<img src="classes/3.png?v=1000" width="60" height="40"' in html
    assert "75 % of the picks" in html
    assert "2 micrographs were picked since" in html
    assert "&lt;b&gt;.mrc" in html
    assert "<details" not in html


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG", b"x" * 100])
def test_a_picture_that_is_gone_or_broken_is_said(tmp_path, picture, content):
    picture.unlink() if content is None else picture.write_bytes(content)
    view = view_classes(STATUS, tmp_path)
    assert not view.has_picture
    html = render_template("classes.html", classes=view, picture="")
    assert "<img" not in html
    assert "has been removed" in html
    assert "75 % of the picks" in html


def test_without_any_one_sentence_is_shown(tmp_path):
    view = view_classes(dataclasses.replace(STATUS, latest=None), tmp_path)
    html = render_template("classes.html", classes=view, picture="")
    assert "as soon as ten micrographs have picks" in html
    assert "<figure" not in html

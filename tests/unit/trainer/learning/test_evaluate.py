"""Picks of the network in held-out micrographs."""

from pathlib import Path

import numpy as np
import pytest

from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick_trainer.learning import evaluate
from livepick_trainer.seeds.labels import Candidates, Seeds
from livepick_trainer.seeds.preprocess import PreparedMicrograph


def test_picks_that_count_neither_way_are_among_those_expected(monkeypatch):
    """They are written like all others, so they are part of the count given by a person."""
    x_px = np.arange(20, 420, 20, dtype=np.float32)
    y_px = np.full_like(x_px, 50)
    found = Picks(x_px, y_px, np.linspace(0.95, 0.2, 20).astype(np.float32))
    monkeypatch.setattr(evaluate, "pick_prepared", lambda *_args, **_keywords: found)
    yx_px = np.column_stack([y_px, x_px])
    micrograph = PreparedMicrograph(
        path=Path("mic.mrc"),
        held_out=True,
        original_pixel_size_angstrom=5.0,
        image=np.zeros((100, 440), dtype=np.float32),
        mask=np.zeros((100, 440), dtype=bool),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(yx_px, found.score),
    )

    held_out = evaluate.evaluate(
        None,
        [(micrograph, Seeds(positive_yx_px=yx_px[::2], ignored_yx_px=yx_px[1::2]))],
        diameter_angstrom=100,
        min_distance_fraction=0.6,
        expected_picks=12,
    )

    assert held_out.micrographs[0].picks == 12
    assert held_out.figures.picks == 10


def test_a_refined_position_that_leaves_the_area_is_no_pick(monkeypatch):
    """The worker drops such a pick too."""
    y, x = np.indices((64, 64))
    scores = sum(
        np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 20) for cy, cx in ((9.7, 30.0), (10.3, 50.0))
    ).astype(np.float32)
    monkeypatch.setattr(evaluate, "network_scores", lambda _network, _image: scores)
    area = PickArea.of_image((64, 64), edge_px=10)
    micrograph = PreparedMicrograph(
        path=Path("mic.mrc"),
        held_out=True,
        original_pixel_size_angstrom=5.0,
        image=np.zeros((64, 64), dtype=np.float32),
        mask=area.shrunk(-0.5).outside((64, 64)),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(np.zeros((0, 2), np.float32), np.zeros(0, np.float32)),
        area=area,
    )

    found = evaluate.pick_prepared(None, micrograph, min_distance_px=12)

    assert found.x_px.tolist() == pytest.approx([50], abs=0.1)

"""Labels by which the promotion gate compares models."""

from pathlib import Path

import numpy as np

from livepick_trainer.learning.gate_labels import label_held_out
from livepick_trainer.seeds.labels import BELIEVED, REJECTED, UNSORTED, Candidates, Seeds
from livepick_trainer.seeds.preprocess import PreparedMicrograph


def test_what_only_one_picker_finds_is_labelled_by_its_class():
    """A place in a good class is a particle; one in a doubtful class counts neither way."""
    yx_px = np.array([[10, 10], [10, 60], [10, 110], [10, 160], [10, 200]], dtype=np.float32)
    micrograph = PreparedMicrograph(
        path=Path("mic.mrc"),
        held_out=True,
        original_pixel_size_angstrom=5.0,
        image=np.zeros((100, 440), dtype=np.float32),
        mask=np.zeros((100, 440), dtype=bool),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(yx_px[:1], np.ones(1, np.float32)),
    )
    known = Candidates(
        yx_px,
        score=np.array([0.9, 0.8, 0.7, 0.6, 0.1], dtype=np.float32),
        verdict=np.array([BELIEVED, BELIEVED, UNSORTED, REJECTED, UNSORTED], dtype=np.int8),
        chance=np.array([0.9, 0.9, 0.4, 0.1, np.nan], dtype=np.float32),
    )

    labels = label_held_out(
        [(micrograph, Seeds(yx_px[:1], yx_px[:0]))],
        diameter_angstrom=100,
        by="classes",
        places={micrograph.path: known},
    )

    here = labels.micrographs[0]
    assert [x for x, _ in here.particles] == [10, 60]
    assert [x for x, _ in here.doubtful] == [110]

"""Cards of bundles."""

import json

import pytest

from livepick.core.contracts.bundle import CARD, read_card
from livepick.errors import ModelError
from livepick.models.registry import Models


def test_entries_missing_from_an_older_card_have_their_old_meaning(
    tmp_path, make_config, put_bundle
):
    """Its model gets no filter, no common noise and no edge rule."""
    bundle = put_bundle(Models(tmp_path), make_config(), 1)
    card = json.loads((bundle / CARD).read_text())
    for name in ("lowpass_angstrom", "noise_sigma", "edge_fraction"):
        del card[name]
    (bundle / CARD).write_text(json.dumps(card))

    read = read_card(bundle)
    assert (read.lowpass_angstrom, read.noise_sigma, read.edge_fraction) == (None, None, 0)


def test_a_card_with_a_wrong_entry_names_it(tmp_path, make_config, put_bundle):
    """Entries that may be missing are not named."""
    bundle = put_bundle(Models(tmp_path), make_config(), 1)
    card = json.loads((bundle / CARD).read_text())
    del card["lowpass_angstrom"], card["threshold"]
    (bundle / CARD).write_text(json.dumps(card | {"tresholt": 1}))

    with pytest.raises(ModelError, match=r"unknown entries: threshold, tresholt\."):
        read_card(bundle)

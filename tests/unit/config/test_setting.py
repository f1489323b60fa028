"""Each setting declares the effect of an edit."""

import pytest
from pydantic import Field

from livepick.config.schema import Config
from livepick.config.sections import Particle
from livepick.config.setting import (
    RETRAIN,
    Section,
    counts_as,
    effect_of,
    keys_with,
    shaping_values,
)
from livepick.config.training_sections import Bootstrap, Training

SECTIONS = {name: field.annotation for name, field in Config.model_fields.items()}
SETTINGS = [(section, key) for section in SECTIONS.values() for key in section.model_fields]


@pytest.mark.parametrize(
    ("section", "key"), SETTINGS, ids=[f"{s.__name__}.{key}" for s, key in SETTINGS]
)
def test_every_setting_declares_the_effect_of_an_edit(section, key):
    assert effect_of(section, key) in ("live", "retrain", "restart")


def test_a_setting_without_a_declaration_is_an_error_that_says_what_to_do():
    class Camera(Section):
        gain: int = 1

    with pytest.raises(LookupError) as caught:
        effect_of(Camera, "gain")

    assert str(caught.value) == (
        "The setting Camera.gain does not declare the effect of an edit. Give it"
        " Field(json_schema_extra=...) with LIVE, RESTART, RETRAIN or RETRAIN_AFTER_SORTING of"
        " livepick.config.setting."
    )


def test_only_sections_that_a_run_has_shape_a_model():
    """A fingerprint and a run's order contain these three sections."""
    shaping = {section for section in SECTIONS.values() if keys_with(section, "retrain")}
    assert shaping == {Particle, Bootstrap, Training}


def test_settings_of_both_stages_are_all_that_shape_a_model(make_config):
    config = make_config()
    for section in (config.particle, config.bootstrap, config.training):
        sorting = shaping_values(section, stage="sorting")
        training = shaping_values(section, stage="training")
        assert sorting.keys().isdisjoint(training)
        assert sorting | training == shaping_values(section)


def test_live_settings_of_training_do_not_shape_a_model(make_config):
    live = {"threads", "device", "gpu_memory_fraction", "time_limit_minutes"}
    assert keys_with(Training, "live") == live
    assert live.isdisjoint(shaping_values(make_config().training))


def test_a_setting_that_was_added_later_counts_only_if_it_is_changed(make_config):
    """Fingerprints of configs without it are those of earlier versions."""
    bootstrap = make_config().bootstrap
    assert "flip_y" not in shaping_values(bootstrap)
    changed = bootstrap.model_copy(update={"flip_y": "yes"})
    assert shaping_values(changed)["flip_y"] == "yes"


def test_the_weights_to_start_from_count_unless_they_are_the_default(make_config):
    """An update trains no session again; an edit of the setting does."""
    default = Training.model_fields["start"].default
    starts = [{}, {"start": default}, {"start": "general"}, {"start": "scratch"}]
    digests = [make_config(training=each).training_fingerprint() for each in starts]
    assert digests[0] == digests[1]
    other = make_config(training={"start": {"model": "a"}}).training_fingerprint()
    assert len({*digests, other}) == 3


def test_words_may_share_a_fingerprint():
    class Words(Section):
        start: str = Field(default="new", json_schema_extra=RETRAIN | counts_as(new="old"))

    assert [shaping_values(Words(start=word))["start"] for word in ("new", "old", "other")] == [
        "old",
        "old",
        "other",
    ]


@pytest.mark.parametrize("bootstrap", [{}, {"picks": "blob"}, {"picks": "general"}])
def test_an_update_of_the_first_picker_does_not_retrain_a_session(bootstrap):
    """The fingerprint is the one of the version whose default was the blob picker."""
    config = Config.model_validate(
        {
            "session": {"name": "test"},
            "watch": {"directories": ["/in"]},
            "particle": {"diameter_angstrom": 150},
            "bootstrap": bootstrap,
            "output": {"directory": "/out"},
            "state": {"directory": "/state"},
        }
    )
    assert config.training_fingerprint() == "d71187badebf"
    assert config.bootstrap.first_picker == bootstrap.get("picks", "general")

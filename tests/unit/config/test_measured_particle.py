"""``auto`` in the section ``particle``, and the numbers that take its place."""

import pytest
import yaml

from factories import make_config, make_settings
from livepick.config.measured_particle import ParticleMeasured, resolve
from livepick.config.reload import compare
from livepick.config.schema import Config, WrittenConfig
from livepick.config.yaml_loader import as_yaml, parse_config
from livepick.errors import ConfigError

MEASURED = ParticleMeasured(182.0, "bright")


@pytest.fixture
def written(tmp_path):
    """Return a function that reads a config with these keys in its section ``particle``."""

    def read(**particle):
        text = yaml.safe_dump(make_settings(tmp_path, particle=particle))
        return parse_config(text, tmp_path / "session.yaml")

    return read


def test_what_is_automatic_becomes_what_was_measured(written):
    config = resolve(written(diameter_angstrom="auto", contrast="auto"), MEASURED)
    assert (config.particle.diameter_angstrom, config.particle.contrast) == (182, "bright")


def test_what_a_person_gave_is_never_overridden(written):
    assert resolve(written(contrast="auto"), MEASURED).particle.diameter_angstrom == 150
    assert resolve(written(diameter_angstrom="auto"), MEASURED).particle.contrast == "dark"
    given = written()
    assert resolve(given, MEASURED) is given


def test_a_measured_number_is_the_same_particle_as_a_given_one(written, tmp_path):
    """It finds the same models, and going from one to the other trains nothing."""
    measured = resolve(written(diameter_angstrom="auto"), ParticleMeasured(150.0, "dark"))
    given = make_config(tmp_path)
    assert measured.particle_fingerprint() == given.particle_fingerprint()
    assert measured.training_fingerprint() == given.training_fingerprint()


def test_bounds_do_not_shape_a_model(written, tmp_path):
    bounded = written(diameter_between_angstrom=[100, 200])
    assert bounded.particle_fingerprint() == make_config(tmp_path).particle_fingerprint()


def test_another_measured_number_is_like_an_edit(written):
    auto = written(diameter_angstrom="auto")
    (change,) = compare(resolve(auto, None), resolve(auto, MEASURED))
    assert (change.name, change.new, change.effect) == (
        "particle.diameter_angstrom",
        "182.0",
        "retrain",
    )


def test_the_copy_of_the_settings_keeps_auto(written, tmp_path):
    """A session that starts from another copy measures again."""
    auto = written(diameter_angstrom="auto", diameter_between_angstrom=[80, 400])
    assert not isinstance(auto, Config)
    assert parse_config(as_yaml(auto), tmp_path / "copy.yaml") == auto
    assert isinstance(auto, WrittenConfig)


def test_until_something_is_measured_the_middle_of_the_bounds_counts(written):
    auto = written(diameter_angstrom="auto", diameter_between_angstrom=[100, 400])
    assert resolve(auto, None).particle.diameter_angstrom == 200


@pytest.mark.parametrize(
    ("particle", "words"),
    [
        ({"diameter_angstrom": "atuo"}, "it must be auto or a number between 20 and 2000 Å"),
        ({"diameter_between_angstrom": [300, 200]}, "the smallest and the largest diameter"),
        ({"diameter_between_angstrom": [5, 200]}, "between 20 and 2000 Å"),
        ({"diameter_between_angstrom": 200}, "for example [80, 400]"),
        ({"diameter_between_angstrom": [200, 300]}, "particle.diameter_angstrom is 150, outside"),
        ({"contrast": "brihgt"}, "dark, bright or auto; perhaps you mean bright"),
    ],
)
def test_a_faulty_particle_is_explained(written, particle, words):
    with pytest.raises(ConfigError) as caught:
        written(**particle)
    assert words in caught.value.what

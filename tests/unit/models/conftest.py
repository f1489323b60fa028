"""Models that the tests of this folder share."""

import pytest

from livepick.models.registry import Models


@pytest.fixture
def config(make_config):
    """Return the smallest config."""
    return make_config()


@pytest.fixture
def models(tmp_path, config, put_bundle):
    """Return a session's models: blob picker 0 and the trained ones 1 to 6."""
    models = Models(tmp_path / "state" / "models")
    put_bundle(models, config, 0, "blob")
    for version in range(1, 7):
        put_bundle(models, config, version)
    return models

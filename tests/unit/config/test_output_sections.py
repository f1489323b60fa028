"""The section ``output``: formats, the RELION project, and their error messages."""

from pathlib import Path

import pytest

from livepick.config.schema import Config
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError

MINIMAL = """\
session: {name: krios1}
watch: {directories: [incoming]}
particle: {diameter_angstrom: 150}
state: {directory: state}
output:
  directory: picks
"""


def load(folder: Path, *lines: str) -> Config:
    path = folder / "session.yaml"
    path.write_text(MINIMAL + "".join(f"  {line}\n" for line in lines))
    return load_config(path)


def test_a_config_from_before_the_formats_means_the_same(tmp_path: Path) -> None:
    """Without a RELION project: absolute names, and all picks at once."""
    output = load(tmp_path, "formats: [relion]").output
    assert output == load(tmp_path).output
    assert output.formats == ["relion"]
    assert output.relion.project is None
    assert output.relion.publishes_all


def test_all_settings_are_read(tmp_path: Path) -> None:
    output = load(
        tmp_path,
        "formats: [star, relion, cryosparc, eman, eman-json, cbox, topaz, csv]",
        "star: {flip_tiff: false}",
        "cryosparc: {exposures: exposures.cs}",
        "relion:",
        "  project: ../project",
        "  micrographs_star: CtfFind/job003/micrographs_ctf.star",
        "  job: External//picks/",
        "  publish: all",
        "  verdicts: [good]",
        "  optics: {voltage_kv: 200, spherical_aberration_mm: 1.4, amplitude_contrast: 0.07}",
    ).output
    assert len(output.formats) == 8
    assert not output.star.flip_tiff
    assert output.cryosparc.exposures == tmp_path / "exposures.cs"
    relion = output.relion
    assert relion.project == tmp_path.parent / "project"
    assert relion.micrographs_star == "CtfFind/job003/micrographs_ctf.star"
    assert relion.job == "External/picks"
    assert relion.verdicts == ["good"]
    assert relion.optics.voltage_kv == 200


@pytest.mark.parametrize(
    ("lines", "publishes_all"),
    [
        ([], True),
        (["relion: {publish: final}"], False),
        (["relion: {publish: all}"], True),
        (["relion: {project: here}"], False),
        (["relion: {project: here, publish: all}"], True),
        (["relion: {project: here, publish: final}"], False),
    ],
)
def test_a_project_that_the_config_names_gets_final_picks_by_default(
    tmp_path: Path, lines: list[str], publishes_all: bool
) -> None:
    assert load(tmp_path, *lines).output.relion.publishes_all is publishes_all


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("formats: [relion, csv, relion]", "output.formats lists relion twice"),
        ("formats: [imod]", "output.formats"),
        ("formats: []", "output.formats"),
        ("relion: {job: /absolute}", "output.relion.job is '/absolute'"),
        ("relion: {job: ../up}", "output.relion.job is '../up'"),
        ("relion: {job: External/../..}", "output.relion.job is 'External/../..'"),
        ("relion: {job: .}", "output.relion.job is '.'"),
        ("relion: {job: External/x}", "output.relion.job is External/x, but output.relion.project"),
        ("relion: {job: 'a\"b'}", "output.relion.job is 'a\"b'"),
        ("relion: {micrographs_star: /x.star}", "output.relion.micrographs_star is '/x.star'"),
        ("relion: {micrographs_star: ../x.star}", "output.relion.micrographs_star is '../x.star'"),
        ("relion: {verdicts: []}", "output.relion.verdicts"),
        ("relion: {verdicts: [fair]}", "output.relion.verdicts"),
        ("relion: {publish: some}", "output.relion.publish"),
        ("relion: {optics: {voltage_kv: 300000}}", "output.relion.optics.voltage_kv"),
        ("relion: {optics: {amplitude_contrast: 7}}", "output.relion.optics.amplitude_contrast"),
        ("relion: {projekt: x}", "output.relion.projekt"),
        ("star: {flip_tiff: maybe}", "output.star.flip_tiff"),
    ],
)
def test_a_wrong_value_is_refused_with_its_setting(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, line)
    assert says in str(caught.value)

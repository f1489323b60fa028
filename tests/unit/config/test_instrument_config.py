"""Config of an instrument, and the configs of its sessions."""

import os
import re
from pathlib import Path

import pytest

from livepick.config import session_config_file
from livepick.config.instrument_config import Instrument, Place, load_instrument, session_text
from livepick.config.session_config_file import SESSION_CONFIG, merge, write_session_config
from livepick.config.sessions_section import Overview, Sessions
from livepick.config.yaml_edit import set_key
from livepick.config.yaml_loader import load_config, parse_config, parse_document
from livepick.errors import ConfigError
from livepick.host.atomic_files import replace_unchanged

TEXT = """\
sessions:
  pattern: {root}/data/{{session}}/MotionCorr
  state: {root}/state/{{session}}
  output: {root}/data/{{session}}/livepick
particle:
  diameter_angstrom: 160 # a ribosome is larger
training:
  epochs: 20
"""


@pytest.fixture
def instrument(tmp_path: Path) -> Instrument:
    return load_instrument(written(tmp_path, TEXT))


def written(root: Path, text: str) -> Path:
    path = root / "krios1.yaml"
    path.write_text(text.format(root=root))
    return path


def place(root: Path, name: str = "s1") -> Place:
    folder = root / "data" / name
    (folder / "MotionCorr").mkdir(parents=True, exist_ok=True)
    return Place(
        name, folder, folder / "MotionCorr", root / "state" / name, folder / "livepick", 9801
    )


def test_a_session_has_the_settings_of_its_instrument_and_its_own_folders(
    tmp_path: Path, instrument: Instrument
) -> None:
    own = place(tmp_path)
    config = parse_config(session_text(instrument, own), tmp_path / "session.yaml")
    assert config.session.name == "s1"
    assert config.watch.directories == [own.directory]
    assert config.output.directory == own.output
    assert config.state.directory == own.state
    assert config.web.listen == "127.0.0.1:9801"
    assert (config.particle.diameter_angstrom, config.training.epochs) == (160, 20)


@pytest.mark.parametrize(
    ("web", "link"),
    [
        ("listen: 127.0.0.1:9850", ":9850"),
        ("external_url: https://cryoem.example.org/krios1", "https://cryoem.example.org/krios1/"),
        ("listen: 127.0.0.1:0", None),
    ],
)
def test_a_session_links_to_the_overview(tmp_path: Path, web: str, link: str | None) -> None:
    """With a free port, nobody knows it before the start."""
    instrument = load_instrument(written(tmp_path, f"{TEXT}web:\n  {web}\n"))
    config = parse_config(session_text(instrument, place(tmp_path)), tmp_path / "session.yaml")
    assert config.web.overview_url == link


def test_each_setting_of_a_session_says_where_it_comes_from(
    tmp_path: Path, instrument: Instrument
) -> None:
    own = place(tmp_path)
    (own.folder / "livepick.yaml").write_text("# a virus\nparticle:\n  diameter_angstrom: 300\n")
    text = session_text(instrument, own)
    assert f"diameter_angstrom: 300.0  # {own.folder}/livepick.yaml, line 3\n" in text
    assert f"epochs: 20  # {tmp_path}/krios1.yaml, line 8\n" in text


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("output:\n  on_picked: [rm]\n", "line 2: output.on_picked may not be set for one session"),
        ("web:\n  listen: 0.0.0.0:1\n", "line 2: web.listen may not be set"),
        (
            "particle:\n  diameter_angstrom: 1\n",
            "line 2: particle.diameter_angstrom is the number 1",
        ),
        ("particle:\n  diametre: 1\n", "line 2: particle.diametre is unknown"),
        ("particle: 12\n", "line 1: particle must be a section"),
        ("bootstrap:\n  picks: {model: /home/me/m}\n", "line 2: bootstrap.picks names a model"),
        ("particle: [\n", "livepick.yaml"),
        ("{" * 500, "livepick.yaml"),
    ],
)
def test_a_fault_in_a_sessions_file_is_named_with_its_line(
    tmp_path: Path, instrument: Instrument, override: str, fault: str
) -> None:
    own = place(tmp_path)
    (own.folder / "livepick.yaml").write_text(override)
    with pytest.raises(ConfigError) as error:
        session_text(instrument, own)
    assert fault in error.value.what
    assert str(own.folder / "livepick.yaml") in error.value.what
    assert error.value.remedy


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("state:\n  directory: /x\n", "line 10: state.directory is not for an instrument"),
        ("picking:\n  treshold: 1\n", "line 10: picking.treshold is unknown"),
        ("session:\n  name: x\n", "line 10: session.name is not for an instrument"),
    ],
)
def test_a_fault_of_the_instrument_is_found_before_there_is_a_session(
    tmp_path: Path, more: str, fault: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_instrument(written(tmp_path, TEXT + more))
    assert fault in error.value.what


def test_the_config_of_an_instrument_is_not_that_of_a_session(
    tmp_path: Path, instrument: Instrument
) -> None:
    with pytest.raises(ConfigError, match="config of an instrument") as error:
        load_config(instrument.path)
    assert "livepick list" in error.value.remedy


def test_a_model_may_be_named_where_the_instrument_says_so(
    tmp_path: Path, instrument: Instrument
) -> None:
    path = written(tmp_path, TEXT.replace("particle:", "  allow: [bootstrap.picks]\nparticle:", 1))
    own = place(tmp_path)
    (own.folder / "livepick.yaml").write_text("bootstrap:\n  picks: {model: m}\n")
    text = session_text(load_instrument(path), own)
    assert f"model: {own.folder}/m" in text


def test_an_edit_of_a_sessions_config_wins_over_the_instrument(
    tmp_path: Path, instrument: Instrument
) -> None:
    own = place(tmp_path)
    write_session_config(own.state, session_text(instrument, own))
    path = own.state / SESSION_CONFIG
    edited = set_key(path.read_text(), path, "training.epochs", 7, note="by hand").text
    path.write_text("# mine\n" + edited)

    written(tmp_path, TEXT.replace("160", "200").replace("epochs: 20", "epochs: 30"))
    merged = write_session_config(own.state, session_text(load_instrument(instrument.path), own))

    config = load_config(path)
    assert (config.particle.diameter_angstrom, config.training.epochs) == (200, 7)
    assert (merged.changed, merged.kept) == (
        ("particle.diameter_angstrom",),
        ("training.epochs",),
    )
    assert path.read_text().startswith("# mine\n")
    assert "by hand" in path.read_text()
    again = write_session_config(own.state, session_text(load_instrument(instrument.path), own))
    assert (again.changed, again.kept) == ((), ())


@pytest.mark.parametrize("moment", ["while it is computed", "while it is written"])
def test_an_edit_during_a_merge_is_not_lost(
    tmp_path: Path, instrument: Instrument, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A person saves the file between the service's look at it and its rename."""
    own = place(tmp_path)
    write_session_config(own.state, session_text(instrument, own))
    path = own.state / SESSION_CONFIG
    path.write_text("# mine\n" + path.read_text())
    edits = [set_key(path.read_text(), path, "training.epochs", epochs).text for epochs in (7, 8)]

    owner, name = {
        "while it is computed": (session_config_file, "merge"),
        "while it is written": (os, "fsync"),
    }[moment]
    whole = getattr(owner, name)

    def with_edit(*args: object) -> object:
        result = whole(*args)
        if edits:
            path.write_text(edits.pop(0))
        return result

    monkeypatch.setattr(owner, name, with_edit)
    written(tmp_path, TEXT.replace("160", "200").replace("epochs: 20", "epochs: 30"))
    merged = write_session_config(own.state, session_text(load_instrument(instrument.path), own))

    assert not edits
    config = load_config(path)
    assert (config.particle.diameter_angstrom, config.training.epochs) == (200, 8)
    assert merged.kept == ("training.epochs",)


def test_a_file_that_is_edited_all_the_time_is_merged_by_a_later_call(
    tmp_path: Path, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = place(tmp_path)
    write_session_config(own.state, session_text(instrument, own))
    path = own.state / SESSION_CONFIG
    new = session_text(instrument, own).replace("160", "200")

    def edited(file: Path, former: bytes, data: bytes) -> bool:
        path.write_text(f"{path.read_text()}# mine\n")
        return replace_unchanged(file, former, data)

    with monkeypatch.context() as others:
        others.setattr(session_config_file, "replace_unchanged", edited)
        assert write_session_config(own.state, new).changed == ()
    assert write_session_config(own.state, new).changed == ("particle.diameter_angstrom",)
    assert "# mine" in path.read_text()


def test_a_link_to_a_sessions_config_stays_a_link(tmp_path: Path, instrument: Instrument) -> None:
    own = place(tmp_path)
    write_session_config(own.state, session_text(instrument, own))
    path = own.state / SESSION_CONFIG
    target = path.rename(tmp_path / "elsewhere.yaml")
    path.symlink_to(target)
    write_session_config(own.state, session_text(instrument, own).replace("160", "200"))
    assert path.is_symlink()
    assert load_config(target).particle.diameter_angstrom == 200


def test_a_setting_that_leaves_the_instruments_config_gets_its_default(
    tmp_path: Path, instrument: Instrument
) -> None:
    own = place(tmp_path)
    new = session_text(instrument, own)
    former = new.replace("epochs: 20", "epochs: 20\n  seed: 5")
    present = former + "# a comment of a person\n"
    merged = merge(present, former, new, tmp_path / "session.yaml")
    assert parse_config(merged.text, tmp_path).training.seed == 1
    assert "# a comment of a person" in merged.text


def test_a_setting_may_become_a_section_and_back(tmp_path: Path, instrument: Instrument) -> None:
    own = place(tmp_path)
    word = session_text(instrument, own) + "bootstrap:\n  picks: general\n"
    section = word.replace("picks: general", "picks:\n    coordinates: /data/manual.star")
    for former, new in ((word, section), (section, word)):
        merged = merge(former + "# edited\n", former, new, tmp_path / "session.yaml")
        expected = parse_config(new, tmp_path).bootstrap.picks
        assert parse_config(merged.text, tmp_path).bootstrap.picks == expected


def test_a_session_config_with_a_fault_is_left_as_it_is(
    tmp_path: Path, instrument: Instrument
) -> None:
    own = place(tmp_path)
    write_session_config(own.state, session_text(instrument, own))
    path = own.state / SESSION_CONFIG
    path.write_text(path.read_text().replace("160", "one"))
    before = path.read_text()
    written(tmp_path, TEXT.replace("epochs: 20", "epochs: 30"))
    with pytest.raises(ConfigError, match="diameter_angstrom"):
        write_session_config(own.state, session_text(load_instrument(instrument.path), own))
    assert path.read_text() == before


def test_the_example_has_every_setting_of_an_instrument_at_its_default() -> None:
    example = Path(__file__).parents[3] / "deploy" / "instrument.yaml"
    plain = load_instrument(example)
    text = re.sub(r"(?m)^( *)#(?=[a-z_]+:|  - )", r"\1", example.read_text())
    values = parse_document(text, example).values
    assert set(values["sessions"]) == set(Sessions.model_fields)
    assert set(values["overview"]) == set(Overview.model_fields)
    full = Sessions.model_validate(values["sessions"])
    assert full == plain.sessions


def test_notices_reach_the_sessions_and_their_changes_are_merged(tmp_path: Path) -> None:
    (tmp_path / "mail.url").write_text("json://127.0.0.1/\n")
    path = written(tmp_path, TEXT + "notify:\n  - url_file: mail.url\n")
    own = place(tmp_path)
    write_session_config(own.state, session_text(load_instrument(path), own))
    config = own.state / SESSION_CONFIG
    assert load_config(config).notify.to[0].url_file == tmp_path / "mail.url"
    config.write_text(config.read_text() + "# edited\n")
    written(tmp_path, TEXT + "notify:\n  - url_file: chat.url\n")
    write_session_config(own.state, session_text(load_instrument(path), own))
    assert load_config(config).notify.to[0].url_file == tmp_path / "chat.url"
    assert "# edited" in config.read_text()

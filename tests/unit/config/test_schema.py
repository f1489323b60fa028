"""The configuration and its error messages."""

from pathlib import Path

import pytest

from livepick.config.recommendations import advice
from livepick.config.schema import Config
from livepick.config.sections import Microscope
from livepick.config.training_sections import FIRST_PICKER, PicksFrom, StartFrom
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError

MINIMAL = """\
session:
  name: krios1
watch:
  directories: [incoming]
particle:
  diameter_angstrom: 150
output:
  directory: picks
state:
  directory: state
"""


def _load(folder: Path, text: str) -> Config:
    path = folder / "session.yaml"
    path.write_text(text)
    return load_config(path)


def _refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(folder, text)
    return str(caught.value)


def test_relative_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path, MINIMAL)
    assert config.watch.directories == [tmp_path / "incoming"]
    assert config.output.directory == tmp_path / "picks"
    assert config.state.directory == tmp_path / "state"


def test_a_folder_may_be_above_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path, MINIMAL.replace("picks", "../picks"))
    assert config.output.directory == tmp_path.parent / "picks"


def test_all_documented_keys_are_read(tmp_path: Path) -> None:
    """External scripts depend on these names."""
    config = _load(
        tmp_path,
        """\
session: {name: s}
watch: {directories: [/in], preset: relion}
particle: {diameter_angstrom: 150}
micrograph: {pixel_size_angstrom: 1.1, ctf: CtfFind/job003/micrographs_ctf.star}
bootstrap: {micrographs: 10}
output: {directory: /out, formats: [relion]}
state: {directory: /state}
picking: {device: cpu, threshold: 0.05}
web: {listen: "127.0.0.1:0"}
training: {generation: 2}
""",
    )
    assert config.picking.threshold == 0.05
    assert config.micrograph.ctf == tmp_path / "CtfFind/job003/micrographs_ctf.star"
    assert config.training.generation == 2


def test_a_section_whose_keys_are_commented_out_is_empty(tmp_path: Path) -> None:
    assert _load(tmp_path, MINIMAL + "web:\n  # listen: x:1\n").web.port == 9476


def test_one_message_lists_every_fault_with_its_line(tmp_path: Path) -> None:
    text = MINIMAL.replace("150", "15") + "training:\n  epochs: many\n  seeed: 3\n"
    message = _refusal(tmp_path, text)
    assert "has 3 faults" in message
    assert (
        "line 6: particle.diameter_angstrom is the number 15; it must be auto or a number"
        in message
    )
    assert "a ribosome is about 300" in message
    assert "line 12: training.epochs must be a whole number, but is the text 'many'" in message
    assert "line 13: training.seeed is unknown; perhaps you mean training.seed" in message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("- a\n", "line 1: it has no sections"),
        ("session:\n\tname: a\n", "line 2: it is indented with a tab"),
        ("session: name: a\n", "line 1: a second colon"),
        ("session: {name: a\n", "a bracket is not closed"),
        ("session:\n  name: 'a\n", "a quote is not closed"),
        ("a: 1\n---\nb: 1\n", "a second document begins"),
        ("session: !!python/object:os.system x\n", "line 1: it is not valid YAML"),
    ],
)
def test_broken_yaml_is_explained_in_plain_words(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in _refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("wep: {listen: x}\n", "wep is unknown; perhaps you mean web"),
        ("web: {diameter_angstrom: 3}\n", "diameter_angstrom belongs in the section particle"),
        ("session: {name: b}\n", "line 11: session is repeated, after line 1; keep one"),
        ("web: {listen: a:1, listen: b:2}\n", "web.listen is repeated, after line 11"),
        ("training: {device: gpu}\n", "such as cuda:1"),
        ("training: {gpu_memory_fraction: 0}\n", "0.5 leaves the other half to picking"),
        ("picking: {device: gpu}\n", "or cpu; perhaps you mean require-gpu or prefer-gpu"),
        ("picking: {threshold: 3}\n", "picking.threshold is the number 3; it must be auto or"),
        ("picking: {workers: true}\n", "picking.workers must be a whole number, but is true"),
        ("training: {seed: }\n", "training.seed is empty; remove the line to use the default, 1"),
        ("training: {epochs: 2.5}\n", "must be a whole number, but is the number 2.5"),
        ("training: {final_learning_rate: 0.1}\n", "above the initial one, 0.003"),
        ("training: {initial_learning_rate: .nan}\n", "must be a finite number"),
        (
            "training: {held_out_fraction: 0.89}\nbootstrap: {micrographs: 3}\n",
            "line 11: training.held_out_fraction is 0.89, which leaves none",
        ),
        ("micrograph: {pixel_size_angstrom: 83}\n", "it must be between 0.1 and 20 Å"),
        ("web: {listen: 9476}\n", "web.listen must be text, but is the number 9476"),
        ("web: 9476\n", "web must be a section with keys, but is the number 9476"),
    ],
)
def test_the_error_for_a_wrong_setting_has_a_correct_value(
    tmp_path: Path, more: str, sentence: str
) -> None:
    assert sentence in _refusal(tmp_path, MINIMAL + more)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("krios1", "20261123", "session.name must be text, but is the number 20261123; put it in"),
        ("krios1", "'a b'", "'a b', which is not valid (letters, digits"),
        ("[incoming]", "incoming", "must be a list, but is the text 'incoming'; write [incoming]"),
        ("[incoming]", "[a, b, a]", "/a twice; list it once"),
        ("[incoming]", "[a, a/b]", "sub-folders are included, so keep only the outer one"),
        ("directory: state", "directory: incoming", "which is watched for micrographs"),
        ("directory: picks", "directory: ''", "output.directory is empty"),
        (
            "picks",
            "picks\n  on_picked: /opt/x",
            "output.on_picked must be a list",
        ),
        ("picks", "picks\n  on_picked: [hooks/x]", "'hooks/x'; give the program's absolute path"),
        ("picks", "picks\n  on_picked: ['']", "calls ''; give the program's absolute path"),
        ("picks", "picks\n  on_picked: []", "output.on_picked is an empty list"),
        ("picks", "picks\n  on_picked: [x, 3]", "output.on_picked[1] must be text"),
        ("  diameter_angstrom: 150\n", "", "particle.diameter_angstrom is missing"),
        ("particle:\n  diameter_angstrom: 150\n", "", "particle.diameter_angstrom is missing"),
    ],
)
def test_the_error_for_a_changed_line_has_a_correct_value(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in MINIMAL
    assert sentence in _refusal(tmp_path, MINIMAL.replace(old, new))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")


def test_outputs_may_be_in_a_watched_folder(tmp_path: Path) -> None:
    """STAR files are not micrographs, and many sites want them there."""
    config = _load(tmp_path, MINIMAL.replace("directory: picks", "directory: incoming"))
    assert config.output.directory == config.watch.directories[0]


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("127.0.0.1:9476", "127.0.0.1", 9476),
        ("localhost:0", "localhost", 0),
        ("[::1]:80", "::1", 80),
    ],
)
def test_an_address_is_split(tmp_path: Path, listen: str, host: str, port: int) -> None:
    web = _load(tmp_path, f"{MINIMAL}web: {{listen: '{listen}'}}\n").web
    assert (web.host, web.port) == (host, port)


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", ":80", "::1:80", "[x]:80", "a:b", "a:70000", "a b:1"]
)
def test_an_invalid_address_is_rejected(tmp_path: Path, listen: str) -> None:
    assert "it must be host:port" in _refusal(tmp_path, f"{MINIMAL}web: {{listen: '{listen}'}}\n")


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 3e-4 as text."""
    config = _load(tmp_path, MINIMAL + "training: {final_learning_rate: 3e-4}\n")
    assert config.training.final_learning_rate == 0.0003


def test_spelling_of_a_number_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    whole = _load(tmp_path, MINIMAL)
    point = _load(tmp_path, MINIMAL.replace("150", "150.0"))
    assert whole.training_fingerprint() == point.training_fingerprint()
    assert whole.particle_fingerprint() == point.particle_fingerprint()


@pytest.mark.parametrize("word", ["auto", "yes", "no"])
def test_flip_y_needs_no_quotes(tmp_path: Path, word: str) -> None:
    """YAML reads yes and no as true and false."""
    for written in (word, f'"{word}"'):
        config = _load(tmp_path, MINIMAL + f"bootstrap: {{flip_y: {written}}}\n")
        assert config.bootstrap.flip_y == word


def test_gate_off_needs_no_quotes(tmp_path: Path) -> None:
    """YAML reads ``off`` as false."""
    assert _load(tmp_path, MINIMAL + "retrain: {gate: off}\n").retrain.gate == "off"
    assert _load(tmp_path, MINIMAL + 'retrain: {gate: "off"}\n').retrain.gate == "off"


def test_the_ctf_is_fitted_unless_it_is_off(tmp_path: Path) -> None:
    """An empty value is the default of earlier versions; ``./fit`` is a folder of that name."""
    for written, fits, place in (
        ("", True, None),
        ("micrograph: {ctf: }\n", True, None),
        ("micrograph: {ctf: off}\n", False, None),
        ("micrograph: {ctf: 'off'}\n", False, None),
        ("micrograph: {ctf: ./fit}\n", True, tmp_path / "fit"),
    ):
        micrograph = _load(tmp_path, MINIMAL + written).micrograph
        assert (micrograph.fits_ctf, micrograph.ctf_place) == (fits, place)


def test_optics_have_one_home(tmp_path: Path) -> None:
    """Their earlier name is still read, with its own default, but not beside the new one."""
    assert _load(tmp_path, MINIMAL).optics == Microscope()
    given = MINIMAL + "microscope: {voltage_kv: 200}\n"
    assert _load(tmp_path, given).optics.voltage_kv == 200
    earlier = MINIMAL.replace(
        "directory: picks", "directory: picks\n  relion: {optics: {voltage_kv: 200}}"
    )
    optics = _load(tmp_path, earlier).optics
    assert (optics.voltage_kv, optics.amplitude_contrast) == (200, 0.1)
    with pytest.raises(ConfigError, match="earlier name of microscope"):
        _load(tmp_path, earlier + "microscope: {amplitude_contrast: 0.1}\n")


def test_only_settings_that_shape_a_model_change_the_fingerprint(tmp_path: Path) -> None:
    plain = _load(tmp_path, MINIMAL).training_fingerprint()
    threads = _load(
        tmp_path,
        MINIMAL
        + "training: {threads: 8, device: 'cuda:1', gpu_memory_fraction: 0.2,"
        + " time_limit_minutes: 9}\nmicrograph: {ctf: a.star}\n",
    )
    again = _load(tmp_path, MINIMAL + "training: {generation: 2}\n")
    assert threads.training_fingerprint() == plain
    assert again.training_fingerprint() != plain


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("picks: blobb", "bootstrap.picks is 'blobb'; it must be general, blob, {model: PATH}"),
        ("picks: 5", "bootstrap.picks is 5; it must be general, blob,"),
        ("picks: [a]", "bootstrap.picks is ['a']; it must be general, blob,"),
        ("picks: model", "perhaps you mean {model: PATH}"),
        ("picks: hand/picks.star", "perhaps you mean {coordinates: hand/picks.star}"),
        ("picks:", "bootstrap.picks is empty; remove the line to use the default, general"),
        ("picks: {}", "bootstrap.picks has no path; give model: PATH or coordinates: PATH"),
        ("picks: {model: }", "bootstrap.picks has no path"),
        ("picks: {model: a, coordinates: b}", "bootstrap.picks has both model and coordinates"),
        ("picks: {model: 5}", "bootstrap.picks.model must be a path, but is the number 5"),
        ("picks: {model: ''}", "bootstrap.picks.model is empty"),
        (
            "picks: {modle: a}",
            "bootstrap.picks.modle is unknown; perhaps you mean bootstrap.picks.",
        ),
        ("classes: {accept: [1], reject: [2, 1]}", "bootstrap.classes accepts and rejects 1;"),
        ("classes: {accept: [-1]}", "bootstrap.classes.accept has a negative number"),
        ("classes: {reject: [a]}", "bootstrap.classes.reject[0] must be a whole number"),
        ("classes: [3]", "bootstrap.classes must be a section with keys"),
        ("minimum_picks: 0", "it must be between 1 and 1000000 (200 is usual)"),
    ],
)
def test_a_fault_of_the_bootstrap_is_one_sentence(tmp_path: Path, written: str, says: str) -> None:
    """The value may be a word or a section, and the message mentions both."""
    message = _refusal(tmp_path, f"{MINIMAL}bootstrap:\n  {written}\n")
    assert says in message
    assert "line 12" in message
    assert "faults" not in message


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("start: generall", "training.start is 'generall'; it must be general, scratch or {model:"),
        ("start: models/0003", "perhaps you mean {model: models/0003}"),
        ("start: model", "perhaps you mean {model: PATH}"),
        ("start: 5", "training.start is 5; it must be general"),
        ("start: {model: ''}", "training.start.model is empty"),
        ("start: {modle: a}", "training.start.modle is unknown"),
    ],
)
def test_a_fault_of_the_start_is_one_sentence(tmp_path: Path, written: str, says: str) -> None:
    message = _refusal(tmp_path, f"{MINIMAL}training:\n  {written}\n")
    assert says in message
    assert "line 12" in message


def test_the_path_of_a_start_is_relative_to_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path, MINIMAL + "training: {start: {model: other/0003}}\n")
    assert config.training.start == StartFrom(model=tmp_path / "other/0003")
    again = Config.model_validate_json(config.model_dump_json())
    assert again.training == config.training


def test_paths_of_first_picks_are_relative_to_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path, MINIMAL + "bootstrap: {picks: {coordinates: hand.star}}\n")
    assert isinstance(config.bootstrap.picks, PicksFrom)
    assert config.bootstrap.picks.coordinates == tmp_path / "hand.star"
    again = Config.model_validate_json(config.model_dump_json())
    assert again.bootstrap == config.bootstrap
    assert config.bootstrap.first_picker == FIRST_PICKER


@pytest.mark.parametrize("word", ["general", "blob"])
def test_the_first_picker_has_a_name(tmp_path: Path, word: str) -> None:
    config = _load(tmp_path, MINIMAL + f"bootstrap: {{picks: {word}}}\n")
    assert config.bootstrap.first_picker == config.bootstrap.picks == word


def test_the_defaults_are_in_the_recommended_ranges(tmp_path: Path) -> None:
    """There is no warning about a default."""
    assert advice(_load(tmp_path, MINIMAL)) == []


def test_advice_names_setting_value_range_and_reason(tmp_path: Path) -> None:
    """A value at the edge of its range is fine; whole numbers and rates are written plainly."""
    settings = "training: {epochs: 400, initial_learning_rate: 0.00005, final_learning_rate: 1e-5}"
    epochs, rate = advice(_load(tmp_path, f"{MINIMAL}bootstrap: {{micrographs: 10}}\n{settings}\n"))

    assert epochs.startswith("training.epochs is 400; the recommended range is 20 to 50: start")
    assert rate.startswith(
        "training.initial_learning_rate is 0.00005; the recommended range is 0.001"
    )


def test_a_lowpass_coarser_than_a_third_of_the_particle_is_not_recommended(tmp_path: Path) -> None:
    for angstrom, count in ((50, 0), (51, 1)):
        found = advice(_load(tmp_path, f"{MINIMAL}training: {{lowpass_angstrom: {angstrom}}}\n"))
        assert len(found) == count
    assert "training.lowpass_angstrom is 51; the recommended maximum is 50 Å" in found[0]

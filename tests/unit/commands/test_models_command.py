"""``livepick models``: what an operator does with the models of a session."""

import json
from dataclasses import asdict

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from factories import make_card, write_config
from livepick.cli import main
from livepick.config.schema import Config
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.bundle import CARD, GRAPH, publish, read_card
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.errors import ModelError
from livepick.models.promotions import PROMOTIONS_FILE
from livepick.models.registry import Models
from livepick.picking.model_check import canary


def graph(*, gain=1.0, bias=0.0, out="score", pooled=False):
    """Return a network of one sigmoid; the parameters can make it invalid."""
    nodes = [
        helper.make_node("Sigmoid", ["image"], ["s"]),
        helper.make_node("Mul", ["s", "gain"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["full" if pooled else out]),
    ]
    if pooled:
        nodes.append(
            helper.make_node("MaxPool", ["full"], [out], kernel_shape=[2, 2], strides=[2, 2])
        )
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "h", "w"])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.float32(gain), "gain"),
            numpy_helper.from_array(np.float32(bias), "bias"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    return onnx.helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString()


class Session:
    """A config file and its session's models: blob picker 0, trained 1 to 3, current 2."""

    def __init__(self, folder):
        self.path = write_config(folder, training={"epochs": 40})
        self.config = load_config(self.path)
        self.models = Models(self.config.state.directory / "models")
        self.put(0, "blob")
        for version in (1, 2, 3):
            self.put(version)
        for version in (1, 2):
            self.models.promote(version, by="service", why="better", fingerprint=str(version))

    def put(self, version, kind="trained", *, made_of=None, report=None, **changes):
        """Publish a bundle."""
        made_of = made_of or graph()
        if kind == "trained":
            changes = {"run": f"{version:04d}", "parent": version - 1} | changes
        made_for = {"config": self.config, "version": version, "kind": kind}
        card = make_card(made_of, **made_for, threshold_source="best F1", **changes)
        files = {GRAPH: made_of}
        if report is not None:
            files["report.json"] = json.dumps(report).encode()
        return publish(self.models.directory, card, files)

    def call(self, command, *arguments):
        """Run the command; return its exit status."""
        return main(["models", command, str(self.path), *map(str, arguments)])

    @property
    def current(self):
        """Version of the current model."""
        return self.models.current(self.config).card.version


@pytest.fixture
def session(tmp_path):
    """Return a session with models."""
    return Session(tmp_path)


REPORT = {
    "figures": {"average_precision": 0.8125, "best_f1": 0.79, "precision_at_count": None},
    "micrographs": [{}, {}, {}],
    "seeds": {"from": "coordinates"},
    "findings": [
        {
            "kind": "overfitting",
            "is_fault": True,
            "evidence": "the held-out loss rises",
            "remedy": "train on more",
        }
    ],
}


def test_the_list_tells_the_models_apart(session, capsys):
    """It shows the current model, and the source, figures and promotion of each."""
    session.put(4, report=REPORT, parent=None)

    assert session.call("list") == 0

    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line[0] == " "}
    assert "the particle's diameter" in lines["0"]
    assert "run 0001, picks of model 0" in lines["1"]
    assert "by service" in lines["1"]
    assert "coordinates" in lines["4"]
    assert "0.812" in lines["4"]
    (starred,) = (line for line in said.splitlines() if line.startswith("*"))
    assert starred.split()[1] == "2"


def test_the_list_is_there_for_scripts(session, capsys):
    """The JSON has everything that the table has."""
    session.put(4, report=REPORT, parent=None)

    assert session.call("list", "--json") == 0

    listed = {model["version"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert [version for version, model in listed.items() if model["champion"]] == [2]
    assert listed[2]["source"] == {"run": "0002", "parent": 1, "seeds": None, "start": None}
    assert listed[2]["promotions"][0]["by"] == "service"
    assert listed[4]["held_out"]["average_precision"] == 0.8125
    assert listed[4]["source"]["seeds"] == "coordinates"


def test_before_the_first_start_there_are_no_models(tmp_path, capsys):
    """Nothing can be promoted, rolled back or removed, and the commands say what to do."""
    path = write_config(tmp_path)

    assert main(["models", "list", str(path)]) == 0
    assert "no models yet" in capsys.readouterr().out
    for command in (["promote", str(path), "1"], ["rollback", str(path)], ["prune", str(path)]):
        assert main(["models", *command]) == 1
        assert str(tmp_path / "state" / "models") in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_model_is_shown_with_all_that_is_known_of_it(session, capsys):
    """The output has card, figures, findings, promotions, and settings that differ."""
    session.put(4, report=REPORT, parent=None)
    earlier = Config.model_validate(
        session.config.model_dump()
        | {"training": {"epochs": 10, "threads": 3, "gpu_memory_fraction": 0.2}}
    )
    (session.config.state.directory / RUNS / "0004").mkdir(parents=True)
    RunSpec(
        version=4,
        parent=None,
        fingerprint=earlier.training_fingerprint(),
        particle_fingerprint=earlier.particle_fingerprint(),
        models_directory=session.models.directory,
        particle=earlier.particle,
        training=earlier.training,
        bootstrap=earlier.bootstrap,
        seed_threshold=0.5,
        micrographs=[],
    ).write(session.config.state.directory / RUNS / "0004")
    session.call("promote", 4, "--note", "the best by eye")
    capsys.readouterr()

    assert session.call("show", 4) == 0

    said = capsys.readouterr().out
    assert "Model 4, trained, in use" in said
    assert "3 held-out micrographs" in said
    assert "average precision 0.812" in said
    assert "matched count -" in said
    assert "Overfitting: the held-out loss rises" in said
    assert "promoted by operator: the best by eye" in said
    assert "training.epochs: trained with 10, now 40 in the config" in said
    assert "threads" not in said
    assert "gpu_memory_fraction" not in said

    assert session.call("show", 3) == 0
    assert "settings are unknown" in capsys.readouterr().out
    assert session.call("show", 9) == 1
    assert "no model 9" in capsys.readouterr().err


def test_a_promotion_says_what_happens(session, capsys):
    """The promotion is for the current settings, by an operator, with a note."""
    assert session.call("promote", 3, "--note", "it looks right") == 0

    assert (
        capsys.readouterr().out == "model 3 is used from the next micrograph on; before: model 2\n"
    )
    promotion = session.models.last_promotion()
    assert (promotion.version, promotion.by, promotion.why) == (3, "operator", "it looks right")
    assert promotion.fingerprint == session.config.training_fingerprint()
    assert session.call("promote", 3) == 0
    assert "already" in capsys.readouterr().out


def test_rollbacks_say_what_happens_and_end(session, capsys):
    """Rollbacks end at the blob picker."""
    for text in (
        "model 1 is used from the next micrograph on; before: model 2",
        "model 0 is used from the next micrograph on; before: model 1",
    ):
        assert session.call("rollback") == 0
        assert text in capsys.readouterr().out
    assert session.models.last_promotion().why == "rolled back from 1"
    assert session.models.last_promotion().rollback

    assert session.call("rollback") == 1
    assert "no model was in use before model 0" in capsys.readouterr().err
    assert session.current == 0


SPOILED = {
    "gives scores that are not between 0 and 1": {"gain": 3},
    "scores that are not": {"bias": float("nan")},
    "array of shape": {"pooled": True},
    "could not run": {"out": "another"},
    "does not accept": None,
}


@pytest.mark.parametrize(("says", "spoil"), SPOILED.items())
def test_a_graph_that_gives_no_scores_is_refused(session, capsys, says, spoil):
    """Promotion and rollback refuse it, and the current model stays."""
    made_of = b"no graph" if spoil is None else graph(**spoil)
    session.put(4, made_of=made_of)
    with pytest.raises(ModelError, match=says):
        canary(session.models.directory / "0004")

    assert session.call("promote", 4) == 1
    assert says in capsys.readouterr().err
    assert session.current == 2

    session.models.promote(4, by="service", why="not tried", fingerprint="f")
    session.models.promote(3, by="service", why="better", fingerprint="f")
    assert session.call("rollback") == 1
    assert says in capsys.readouterr().err
    assert session.current == 3


def test_a_good_graph_passes(session):
    """Tested with a trained network and with the blob picker's graph."""
    canary(session.models.directory / "0001")
    blob = Models(session.models.directory.parent / "fresh").ensure_blob(session.config)
    canary(blob.path)


def test_a_model_that_does_not_exist_is_named(session, capsys):
    assert session.call("promote", 9) == 1
    assert "there is no model 9 in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("particle", "made for another particle"),
        ("checksum", "is not the graph that its card names"),
        ("format", "has format 99"),
        ("missing", "0003/model.json cannot be read"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(session, capsys, damage, says):
    """The current model stays, and its pointer is not changed."""
    bundle = session.models.directory / "0003"
    card = asdict(read_card(bundle))
    if damage == "particle":
        (bundle / CARD).write_text(json.dumps(card | {"particle_fingerprint": "other"}))
    elif damage == "checksum":
        (bundle / GRAPH).write_bytes(graph(gain=0.5))
    elif damage == "format":
        (bundle / CARD).write_text(json.dumps(card | {"format": 99}))
    else:
        (bundle / CARD).unlink()
    before = (session.models.directory / PROMOTIONS_FILE).stat()

    assert session.call("promote", 3) == 1

    assert says in capsys.readouterr().err
    assert session.current == 2
    after = (session.models.directory / PROMOTIONS_FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_pruning_says_what_it_removed(session, capsys):
    """The current model and the one before it are kept."""
    for version in (4, 5):
        session.put(version)

    assert session.call("prune", "--keep", 2) == 0
    assert capsys.readouterr().out == "removed model 3; trained models left: 4\n"
    assert session.call("prune") == 0
    assert capsys.readouterr().out == "none removed; trained models left: 4\n"

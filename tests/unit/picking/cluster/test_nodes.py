"""Bad nodes are told from bad files, and nodes that do not fit get no jobs."""

from pathlib import Path

import pytest

from livepick.core.contracts.job import CPU, CUDA, WorkerDiedError
from livepick.core.contracts.node import HelloRequest, NodeCard
from livepick.errors import (
    ChangedFileError,
    ContentError,
    HeaderError,
    IncompleteFileError,
    MemoryLimitError,
    ModelError,
    ProviderError,
    StalledError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.picking.cluster.nodes import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SILENT_SECONDS,
    Nodes,
    Try,
    WorkerInfo,
    failure_of,
    refusal,
)

REQUEST = HelloRequest(
    "prefer-gpu", Path("/s/models/0001"), "f00", Path("/s/cluster_token"), "abc", (Path("/d"),)
)
CARD = NodeCard(
    token="abc",  # noqa: S106 - no secret
    graph_sha256="f00",
    provider=CUDA,
)


def info(address, *, slots=2, host="", seen=0.0, incarnation="a"):
    return WorkerInfo(address, incarnation, address, host or f"host of {address}", slots, seen)


class Cluster:
    """Accepted nodes, and what is tried on them."""

    def __init__(self, *addresses, **hosts):
        self.nodes = Nodes()
        infos = [info(a) for a in addresses] + [info(a, host=host) for a, host in hosts.items()]
        self.nodes.update(infos, 0.0)
        for node in self.nodes.due(0.0):
            self.nodes.answered(node, CARD, REQUEST, 0.0)
        self.now = 0.0

    def __getitem__(self, address):
        (node,) = (node for node in self.nodes.all() if node.address == address)
        return node

    def run(self, file, faults):
        """Run a job as the executor does; ``faults`` has the error of each node, or None."""
        tries = []
        while True:
            node = self.nodes.choose(tries)
            if node is None:
                return "waits", [each.address for each in tries]
            error = faults[node.address]
            if error is None:
                self.nodes.succeeded(file, node, tries, self.now)
                return None, [*[each.address for each in tries], node.address]
            failure = failure_of(error, file_is_there=file != "gone.mrc")
            again = self.nodes.failed(file, node, tries, failure, self.now)
            tries.append(Try(node.address, node.info.host, failure.kind, failure.text))
            if not again:
                return error, [each.address for each in tries]


GONE = VanishedFileError("it is gone", "")
UNREADABLE = UnreadableFileError("an I/O error", "")
HEAVY = MemoryLimitError("9 GiB", "")
SLOW = StalledError("too long", "")
DIED = WorkerDiedError("crash", "SIGSEGV")
MODEL = ModelError("the graph fails", "")
BUG = KeyError("a bug")


@pytest.mark.parametrize("error", [UNREADABLE, HEAVY, SLOW, DIED, MODEL, BUG, GONE])
def test_a_file_that_fails_everywhere_is_reported_once(error):
    """It is tried on two of three nodes, and no node is blamed for it."""
    cluster = Cluster("a", "b", "c")
    told, tried = cluster.run("gone.mrc", dict.fromkeys("abc", error))
    assert (told, len(tried)) == (error, 2)
    assert [node.strikes for node in cluster.nodes.all()] == [{}, {}, {}]


@pytest.mark.parametrize("error", [UNREADABLE, HEAVY, SLOW, DIED, MODEL, BUG])
def test_a_node_that_fails_where_others_succeed_is_set_aside(error):
    """Not before the third file; no file is reported as failed."""
    cluster = Cluster("a", "b")
    for number, file in enumerate(("1.mrc", "2.mrc", "3.mrc")):
        assert cluster["a"].state == "accepted", number
        cluster["b"].jobs = 1  # so that a is chosen first
        assert cluster.run(file, {"a": error, "b": None}) == (None, ["a", "b"])
    assert cluster["a"].state == "set_aside"
    failure = failure_of(error, file_is_there=True)
    assert f"{failure.text}; other nodes pick the same files" in cluster["a"].reason
    assert cluster.run("4.mrc", {"b": None}) == (None, ["b"])


def test_the_same_file_is_one_strike_and_a_success_clears_it():
    cluster = Cluster("a", "b")
    for file in ("1.mrc", "1.mrc", "1.mrc", "2.mrc"):
        cluster["b"].jobs = 1
        cluster.run(file, {"a": UNREADABLE, "b": None})
    assert len(cluster["a"].strikes) == 2
    cluster["b"].jobs = 1
    assert cluster.run("3.mrc", {"a": None, "b": None}) == (None, ["a"])
    assert cluster["a"].strikes == {}


@pytest.mark.parametrize("error", [HeaderError("x", ""), ContentError("x", "")])
def test_a_bad_file_is_tried_once(error):
    """Its content is the same everywhere."""
    assert Cluster("a", "b").run("1.mrc", dict.fromkeys("ab", error)) == (error, ["a"])


def test_a_file_that_is_still_written_is_not_tried_elsewhere():
    """The dispatch loop tries it later."""
    error = IncompleteFileError("half of it", "")
    assert Cluster("a", "b").run("1.mrc", dict.fromkeys("ab", error)) == (error, ["a"])


def test_with_one_node_failures_pass_unchanged():
    assert Cluster("a").run("1.mrc", {"a": UNREADABLE}) == (UNREADABLE, ["a"])


def test_two_kinds_of_failure_are_not_one():
    """A third node decides."""
    cluster = Cluster("a", "b", "c")
    cluster["c"].jobs = 2
    told, tried = cluster.run("1.mrc", {"a": UNREADABLE, "b": HEAVY, "c": None})
    assert (told, sorted(tried)) == (None, ["a", "b", "c"])
    assert len(cluster["a"].strikes) == len(cluster["b"].strikes) == 1


def test_a_lost_gpu_sets_its_node_aside_at_once():
    """The file is tried elsewhere; with no other node it waits."""
    lost = ProviderError("CUDA failure 999", "")
    cluster = Cluster("a", "b")
    cluster["b"].jobs = 1
    assert cluster.run("1.mrc", {"a": lost, "b": None}) == (None, ["a", "b"])
    assert (cluster["a"].state, "CUDA failure 999" in cluster["a"].reason) == ("set_aside", True)
    assert Cluster("a").run("1.mrc", {"a": lost}) == ("waits", ["a"])


def test_a_file_that_the_service_sees_is_never_gone():
    """Two of three nodes have lost their mount: the file waits for the third."""
    cluster = Cluster("a", "b", "c")
    cluster["c"].jobs = 3
    assert cluster.run("1.mrc", {"a": GONE, "b": GONE, "c": None})[0] is None
    assert len(cluster["a"].strikes) == len(cluster["b"].strikes) == 1


def test_a_file_that_the_service_sees_unchanged_has_not_changed():
    """The node has another folder, or caches: the file is tried elsewhere, and waits if need be."""
    changed = ChangedFileError("it has changed", "")
    failure = failure_of(changed, file_is_there=True, is_unchanged=True)
    assert (failure.kind, failure.whose) == ("changed", "node")
    assert failure.text == "it has changed; the service sees it unchanged"
    assert failure_of(changed, file_is_there=True).whose == "file"


def test_another_host_is_preferred_to_another_worker_of_the_same_host():
    cluster = Cluster(a="n1", b="n1", c="n2")
    cluster["b"].jobs, cluster["c"].jobs = 1, 2
    assert cluster.nodes.choose([Try("a", "n1", "io")]).address == "c"


def test_jobs_go_to_the_least_loaded_node_until_all_are_full():
    cluster = Cluster("a", "b")
    for _ in range(8):
        cluster.nodes.choose().jobs += 1
    assert [node.jobs for node in cluster.nodes.all()] == [4, 4]
    assert cluster.nodes.choose() is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fault": "the disk hangs"}, "the disk hangs"),
        ({"token": None}, "does not see /s. Mount the state folder"),
        ({"token": "other"}, "is another folder than that of the service"),
        ({"missing_roots": (Path("/d"),)}, "does not see /d. Mount the watched folder"),
        ({"graph_sha256": "bad"}, "does not see the model /s/models/0001"),
    ],
)
def test_a_node_that_does_not_fit_is_refused_with_a_reason(change, told):
    card = NodeCard(**{name: getattr(CARD, name) for name in CARD.__slots__} | change)
    assert refusal(CARD, REQUEST) is None
    assert told in refusal(card, REQUEST)


def test_a_cpu_is_refused_only_where_a_gpu_is_required():
    card = NodeCard(**{name: getattr(CARD, name) for name in CARD.__slots__} | {"provider": CPU})
    values = {name: getattr(REQUEST, name) for name in REQUEST.__slots__}
    assert refusal(card, REQUEST) is None
    assert "no usable GPU" in refusal(card, HelloRequest(**values | {"device": "require-gpu"}))


def test_an_unfit_node_is_asked_again_later_and_later_and_taken_back():
    cluster = Cluster("a")
    node, now, pauses = cluster["a"], 100.0, []
    node.state = "asked"
    for _ in range(7):
        cluster.nodes.refuse(node, "it does not see /d.", now)
        assert cluster.nodes.due(node.ask_at - 0.1) == []
        pauses.append(node.ask_at - now)
        now = node.ask_at
        assert cluster.nodes.due(now) == [node]
        assert cluster.nodes.due(now) == []  # while it is being asked
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    cluster.nodes.answered(node, CARD, REQUEST, now)
    assert (node.state, node.reason, cluster.nodes.slots) == ("accepted", "", 2)


def test_a_node_without_a_heartbeat_gets_no_jobs_until_it_answers_again():
    """Clocks of two machines are never compared: only a change of its time counts."""
    cluster = Cluster("a")
    assert cluster.nodes.update([info("a", seen=7e9)], 1.0) == []
    assert cluster.nodes.update([info("a", seen=7e9)], 1.0 + SILENT_SECONDS) == []
    (lost,) = cluster.nodes.update([info("a", seen=7e9)], 2.0 + SILENT_SECONDS)
    assert (lost.address, cluster.nodes.choose()) == ("a", None)
    assert cluster.nodes.update([info("a", seen=7e9 + 1)], 60.0) == []
    assert cluster.nodes.due(60.0) == [lost]


def test_a_silent_node_that_leaves_is_lost_once():
    cluster = Cluster("a")
    (lost,) = cluster.nodes.update([info("a")], 1.0 + SILENT_SECONDS)
    assert cluster.nodes.update([], 2.0 + SILENT_SECONDS) == []
    assert lost.address == "a"
    assert not cluster.nodes.all()


def test_a_node_that_left_or_was_started_again_has_lost_its_jobs():
    cluster = Cluster("a", "b")
    lost = cluster.nodes.update([info("a", incarnation="other")], 1.0)
    assert {node.address for node in lost} == {"a", "b"}
    assert [node.state for node in cluster.nodes.all()] == ["asked"]


def test_a_node_that_leaves_gets_no_more_jobs_and_is_not_asked():
    cluster = Cluster("a")
    leaving = WorkerInfo("a", "a", "a", "host of a", 2, 1.0, is_leaving=True)
    assert cluster.nodes.update([leaving], 1.0) == []
    assert (cluster.nodes.choose(), cluster.nodes.slots) == (None, 0)
    cluster["a"].state = "asked"
    assert cluster.nodes.due(100.0) == []


def test_a_job_that_does_not_come_back_is_a_strike():
    cluster = Cluster("a", "b")
    for file in ("1.mrc", "2.mrc", "3.mrc"):
        cluster.nodes.hangs(file, cluster["a"], 0.0)
    assert (cluster["a"].state, cluster["a"].reason) == (
        "set_aside",
        "jobs do not come back in time. Run livepick check on that machine.",
    )

"""Dask's errors in the words that a person reads."""

import pytest

comms = pytest.importorskip("distributed.comm.core", reason="needs distributed, of the dask extra")

from livepick.picking.cluster.scheduler import _words  # noqa: E402 - needs Dask


@pytest.mark.parametrize(
    ("dask", "words"),
    [
        (
            "in <distributed.comm.tcp.TCPConnector object at 0x7f48>: OSError: [Errno 101] No net",
            "[Errno 101] No net",
        ),
        (
            "in <TCP (closed)  local=tcp://10.0.0.1:1 remote=tcp://10.0.0.2:2>: Stream is closed",
            "Stream is closed",
        ),
        ("Timed out trying to connect after 10 s", "Timed out trying to connect after 10 s"),
    ],
)
def test_an_object_of_dask_is_left_out(dask, words):
    """Its address differs at each try, so that each one would be logged."""
    assert _words(comms.CommClosedError(dask)) == words

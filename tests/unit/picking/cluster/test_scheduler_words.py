"""Dask's errors in the words that a person reads."""

import asyncio
import socket

import pytest

comms = pytest.importorskip("distributed.comm.core", reason="needs distributed, of the dask extra")

from livepick.picking.cluster.connection import why_lost  # noqa: E402 - needs Dask
from livepick.picking.cluster.scheduler import _words, knock  # noqa: E402 - needs Dask


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


def test_a_scheduler_that_is_not_there_is_told_in_the_words_of_the_system():
    with socket.socket() as closed:  # bound, and not listening
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ConnectionRefusedError) as caught:
            asyncio.run(knock(address, 10.0))
    assert why_lost(caught.value) == "Connection refused"


def test_a_host_that_nobody_knows_is_told_in_words():
    """The numbers of such errors are not those of the system."""
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert why_lost(error) == "Name or service not known"

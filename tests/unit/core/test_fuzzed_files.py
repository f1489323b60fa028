"""Damaged files of every kind: each reader gives a result or an error of its own, in little memory.

Hypothesis damages valid files: bits, bytes and numbers are changed, parts are cut off, repeated or
taken from other files, and texts that tend to be trouble are put in. The examples are the same each
time. ``make fuzz`` tries others for ``FUZZ_MINUTES``.
"""

import contextlib
import functools
import os
import resource
import struct
import time
import warnings
from pathlib import Path

import pytest
from fuzzed_readers import READERS, mrc_files, tiff_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepick.errors import LivepickError

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
EXAMPLES = 500 if MINUTES else 60
"""Examples for each reader in one round; without a time, there is one round."""

MOST_MEMORY_BYTES = 256 << 20
"""Memory that a reader may take, besides the size of the file."""

MOST_SHOWN = 10_000
"""Maximum length of an error: it is on the page and in the log."""

TOKENS = [
    b"1e400",
    b"-1e400",
    b"nan",
    b"inf",
    b"-0",
    b"1e-400",
    b"9" * 5000,
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\x0b\x85\x1c",
    b'"',
    b"'",
    b"#",
    b"&a ",
    b"*a ",
    b"!!python/object:x ",
    b"<<: ",
    b"~nobody/",
    b"../" * 50,
    b"[" * 20_000,
    b"{" * 20_000,
    b'{"a":' * 20_000,
    b"<a>" * 20_000,
    b" " * 10_000,
    b"\t" * 300,
    b"x" * 70_000,
    b"data_\nloop_\n",
    b"_rlnMicrographName #1\n",
    b'encoding="klingon"',
    b'encoding="gb2312"',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\xff" * 8,
    bytes(512),
]
NUMBERS = [0, 1, 2, 3, 16, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF]
NUMBERS += [0x80000000, 0xFFFFFFFF, 12, 6, 101, 4097, 1024, 0x3FFFFFFF]


@st.composite
def damaged(draw, seeds, others):
    """Return a valid file after some damage, or random bytes."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=3000))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        data = bytearray(_damage(draw, data, others))
    return bytes(data[: 1 << 20])


def _damage(draw, data, others):  # noqa: PLR0911 - one for each kind of damage
    # Headers are at the beginning, so that is damaged more often.
    early = draw(st.booleans())
    at = draw(st.integers(0, max(0, min(len(data), 256 if early else len(data)))))
    match draw(st.integers(0, 9)):
        case 0:
            return data[:at]
        case 1:
            return data[at:]
        case 2:
            bit = draw(st.integers(0, 7))
            return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] if data[at:] else b""
        case 3:
            return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        case 4 | 5:  # a field of a header
            number = draw(st.sampled_from(NUMBERS))
            form = draw(st.sampled_from("<>")) + "I"
            at -= at % 4
            return data[:at] + struct.pack(form, number) + data[at + 4 :]
        case 6:
            value = draw(st.sampled_from([0.0, -1.0, 1e38, 1e-38, float("nan"), float("inf")]))
            at -= at % 4
            return data[:at] + struct.pack("<f", value) + data[at + 4 :]
        case 7:
            part = data[at : at + draw(st.integers(1, 200))]
            return data[:at] + part * draw(st.integers(0, 50)) + data[at:]
        case 8:
            other = draw(st.sampled_from(others))
            start = draw(st.integers(0, len(other)))
            return data[:at] + other[start : start + draw(st.integers(1, 400))] + data[at:]
        case _:
            token = draw(st.sampled_from(TOKENS))
            skipped = draw(st.sampled_from([0, 0, len(token), 5]))
            return data[:at] + token + data[at + skipped :]


@functools.cache
def _others():
    return [*mrc_files()[:3], *tiff_files()[:2], *(reader.seeds()[0] for reader in READERS[3:])]


@contextlib.contextmanager
def limited_memory(size_bytes):
    """Limit the address space of this process to what it has, the file and the limit."""
    statm = Path("/proc/self/statm").read_text(encoding="ascii")
    now_bytes = int(statm.split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + size_bytes + MOST_MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check(reader, folder, data):
    """Read a file; fail on an error that the reader may not raise, or on too much memory."""
    path = folder / reader.name
    path.write_bytes(data)
    try:
        with limited_memory(len(data)), warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(path)
    except reader.errors as error:
        caught = cause = error
        while cause is not None:
            assert not isinstance(cause, MemoryError), "it takes too much memory"
            cause = cause.__cause__
    else:
        return
    if isinstance(caught, LivepickError):
        assert str(caught).encode(), "it cannot be logged"
        assert len(str(caught)) < MOST_SHOWN


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@pytest.mark.timeout(0 if MINUTES else 300)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_damaged_file_gives_a_result_or_an_error_of_the_reader(reader, tmp_path):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=not MINUTES,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=damaged(reader.seeds(), _others()))
    def one_round(data):
        check(reader, tmp_path, data)

    end = time.monotonic() + 60 * MINUTES / len(READERS)
    one_round()
    while time.monotonic() < end:
        one_round()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_valid_file_is_read(reader, tmp_path):
    """Otherwise the damage would be to something that was refused anyway."""
    read = []
    for data in reader.seeds():
        (tmp_path / reader.name).write_bytes(data)
        with contextlib.suppress(*reader.errors):
            reader.read(tmp_path / reader.name)
            read.append(data)
    assert read

"""Pixels of MRC files: mrcfile reads and writes them.

mrcfile is given the header that ``core.formats.mrc_header`` has checked and corrected, and the
file's pixels. They are read, not memory-mapped: a mapped file that is truncated meanwhile, as on a
network file system, kills the process with SIGBUS. They keep the type of the file, so that an 8-bit
image takes one byte a pixel, and whoever needs floats converts a strip at a time.
"""

import io
import struct
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.header import Header, Note
from livepick.core.formats.mrc_header import HEADER_BYTES, byte_order
from livepick.core.formats.pixel_memory import PixelMemory
from livepick.errors import HeaderError, IncompleteFileError

__all__ = ["mrc_bytes", "read"]


def read(
    name: str,
    stream: BinaryIO | io.BufferedIOBase,
    header: Header,
    start: bytes,
    memory: PixelMemory | None = None,
) -> tuple[NDArray[Any], tuple[Note, ...]]:
    """Read the pixels, ``[y, x]``, in the type and byte order of the header.

    Parameters
    ----------
    name
        Name of the file in error messages.
    stream
        The file, or its decompressed content, at the first byte.
    header, start
        The parsed header, and the bytes that it was parsed from.
    memory
        Memory to read into; None: new memory.

    Returns
    -------
    tuple
        The pixels, writable, in memory; and what mrcfile warned of.
    """
    import mrcfile  # noqa: PLC0415 - workers need it, the service does not

    place = _Pixels(_standard(start), stream, header.data_offset)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            interpreter = _interpreter(mrcfile.mrcinterpreter, memory or PixelMemory())
            image = interpreter(place, permissive=True).data
        except ValueError as error:
            raise HeaderError(
                f"{name} cannot be read as MRC: {error}", "The file is damaged; write it again."
            ) from error
        finally:
            place.close()  # a closed stream is not written to by mrcfile
    height, width = header.shape_px
    if image is None or image.size != height * width:
        found = place.pixel_bytes // header.dtype.itemsize
        raise IncompleteFileError(
            f"{name} ended after {found} of {height * width} pixels",
            "Wait until it is written, or copy it again.",
        )
    notes = (Note("library_warning", str(each.message)) for each in caught)
    return image.reshape(height, width), tuple(notes)


def _interpreter(library: Any, memory: PixelMemory) -> Any:
    """Return mrcfile's class for streams, but one that reads the pixels into a given memory.

    A ``bytearray`` is first filled with zeros, and consists of small pages, which take the system
    longer to provide than the file takes to read.

    Parameters
    ----------
    library
        The module ``mrcfile.mrcinterpreter``, which only the workers load.
    """

    class Interpreter(library.MrcInterpreter):  # type: ignore[misc]
        def _read_bytearray_from_stream(self, number_of_bytes: int) -> tuple[Any, int]:
            if number_of_bytes > HEADER_BYTES:
                content = memory.take(number_of_bytes)
            else:
                content = np.empty(number_of_bytes, dtype=np.uint8)
            return content, self._iostream.readinto(content)

    return Interpreter


def _standard(start: bytes) -> bytes:
    """Return a header with everything corrected that mrcfile depends on, without extension."""
    order = byte_order(start)
    corrected = bytearray(start)
    struct.pack_into(f"{order}i", corrected, 8, 1)  # sections
    struct.pack_into(f"{order}i", corrected, 88, 0)  # space group of an image
    struct.pack_into(f"{order}i", corrected, 92, 0)  # extended header
    corrected[208:212] = b"MAP "
    corrected[212:216] = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    return bytes(corrected)


class _Pixels(io.RawIOBase):
    """A stream of a corrected header, and the pixels of a file.

    Parameters
    ----------
    start
        Corrected header, without extended header.
    source
        The file or its decompressed content, at the first byte.
    offset
        Position of the first pixel in ``source``.
    """

    def __init__(self, start: bytes, source: BinaryIO | io.BufferedIOBase, offset: int) -> None:
        self._start = start
        self._source = source
        self._offset = offset
        self.pixel_bytes = 0
        """Number of bytes of pixels read so far."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the whole buffer, unless the file ends; raw files may return less at a time."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._start))
        view[:count], self._start = self._start[:count], self._start[count:]
        if count < len(view) and self._offset:
            self._source.seek(self._offset)
            self._offset = 0
        while count < len(view):
            got = self._source.readinto(view[count:])  # type: ignore[union-attr]
            if not got:
                break
            count += got
            self.pixel_bytes += got
        return count


def mrc_bytes(
    image: NDArray[Any],
    pixel_size_angstrom: float,
    *,
    label: str = "Written by livepick",
) -> bytes:
    """Return an MRC2014 file of one image, with its statistics.

    Parameters
    ----------
    image
        ``[y, x]``, float32 (mode 2), float16 (12), int16 (1), uint16 (6) or int8 (0).
    pixel_size_angstrom
        Pixel size to store.
    label
        First text label, up to 80 ASCII characters; mrcfile's own has the time in it.
    """
    import mrcfile  # noqa: PLC0415 - as in ``read``

    with io.BytesIO() as stream, mrcfile.mrcinterpreter.MrcInterpreter() as file:
        file._create_default_attributes()  # noqa: SLF001 - the documented way to write to a stream
        file._iostream = stream  # noqa: SLF001
        file.set_data(image)
        file.voxel_size = pixel_size_angstrom
        exact = image.astype(np.float64)  # half precision is too coarse for a mean
        file.header.dmean, file.header.rms = exact.mean(), exact.std()
        file.header.label[0] = label.encode("ascii")
        file.flush()
        content = stream.getvalue()
        file._iostream = io.BytesIO()  # noqa: SLF001 - mrcfile writes once more when it closes
    return content

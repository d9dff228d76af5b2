"""Records of event files: framing and checksums, checked for a whole file at once.

A record is its length (8 bytes), a checksum of the length (4), the content, and a checksum of the
content (4), the checksums being CRC-32C, turned and shifted by a constant. A checksum is linear in
the bytes, so it is the exclusive or of one table entry for each byte, which NumPy looks up for all
bytes of a file together. Python takes a hundred times longer byte by byte.

References
----------
TFRecord format of TensorFlow; CRC-32C (Castagnoli) of RFC 3720, appendix B.4.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

HEAD, TAIL = 12, 4
LONGEST = 4096
"""Records of more bytes, such as a graph, are rare and get their checksum one by one."""

_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8

Words = npt.NDArray[np.uint32]


def read_records(path: str | Path) -> tuple[list[bytes], int | None]:
    """Contents of the records of an event file, and where it is damaged.

    Parameters
    ----------
    path : path
        A file, which may still be growing.

    Returns
    -------
    records : list of bytes
        Up to the damage. A last record that is incomplete is left out.
    damage : int or None
        Byte at which the first record begins that does not fit its checksum; None for none.
    """
    content = Path(path).read_bytes()
    begins: list[int] = []
    lengths: list[int] = []
    begin, size = 0, len(content)
    unpack = struct.Struct("<Q").unpack_from
    while begin + HEAD <= size:
        (length,) = unpack(content, begin)
        if begin + HEAD + length + TAIL > size:
            break
        begins.append(begin + HEAD)
        lengths.append(length)
        begin += HEAD + length + TAIL
    records = [content[b : b + n] for b, n in zip(begins, lengths, strict=True)]
    ends = [b + n for b, n in zip(begins, lengths, strict=True)]
    stored = np.frombuffer(b"".join(content[e : e + TAIL] for e in ends), "<u4")
    fits = checksums(records) == stored
    if not fits.all():
        intact = int(np.argmin(fits))
        return records[:intact], begins[intact] - HEAD
    # behind the last whole record: the beginning of one, or nonsense instead of its length
    if begin + HEAD <= size and not _is_length(content[begin : begin + HEAD]):
        return records, begin
    return records, None


def _is_length(head: bytes) -> bool:
    return bool(masked_crc32c(head[:8]) == int.from_bytes(head[8:], "little"))


def checksums(records: Sequence[bytes]) -> Words:
    """Masked CRC-32C of each of some byte strings."""
    sizes = np.array([len(record) for record in records], np.intp)
    short = np.where(sizes <= LONGEST, sizes, 0)
    joined = np.frombuffer(b"".join(r for r in records if len(r) <= LONGEST), np.uint8)
    ends = np.cumsum(short)
    # which table: how many bytes of its record stand behind a byte
    behind = np.repeat(ends - 1, short) - np.arange(len(joined))
    entries = _bytes.take((behind << 8) | joined)
    crc = _nothing[short]
    filled = short > 0
    if filled.any():
        crc[filled] ^= np.bitwise_xor.reduceat(entries, (ends - short)[filled])
    crc ^= np.uint32(0xFFFFFFFF)
    found = (crc >> 15 | crc << 17) + np.uint32(_MASK)
    for number in np.flatnonzero(sizes > LONGEST):
        found[number] = masked_crc32c(records[number])
    return found


def _tables() -> tuple[Words, Words]:
    """What a byte with so many zeros behind it, and what so many zeros alone, do to a checksum."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> 1) ^ np.where(crc & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    of_bytes = np.empty((LONGEST, 256), np.uint32)
    of_nothing = np.empty(LONGEST + 1, np.uint32)
    of_bytes[0], of_nothing[0] = crc, 0xFFFFFFFF
    for number in range(1, LONGEST + 1):
        last = of_nothing[number - 1]
        of_nothing[number] = (last >> 8) ^ crc[last & 255]
        if number < LONGEST:
            before = of_bytes[number - 1]
            of_bytes[number] = (before >> 8) ^ crc[before & 255]
    return of_bytes.ravel(), of_nothing


_bytes, _nothing = _tables()

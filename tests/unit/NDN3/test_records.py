"""Against the reader and the checksums of the tensorboard package, byte by byte."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow
from tensorboard.summary.writer.record_writer import RecordWriter

from NDN3 import records


def reference(path):
    """Records as the package reads them, and whether it met damage."""
    reader = pywrap_tensorflow.PyRecordReader_New(str(path))
    found = []
    try:
        while True:
            reader.GetNext()
            found.append(reader.record())
    except errors.OutOfRangeError:
        return found, False
    except errors.DataLossError as problem:
        return found, "truncated" not in str(problem)
    finally:
        reader.file_handle.close()


def write(path, contents):
    with open(path, "wb") as stream:
        writer = RecordWriter(stream)
        for content in contents:
            writer.write(content)
    return path


def test_a_known_checksum():
    """CRC-32C of 32 zeros is 8a9136aa, and of 0 … 31 it is 46dd794e: RFC 3720, B.4."""
    plain = np.array([0x8A9136AA, 0x46DD794E], np.uint32)
    masked = (plain >> 15 | plain << 17) + np.uint32(0xA282EAD8)
    assert records.checksums([bytes(32), bytes(range(32))]).tolist() == masked.tolist()


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_checksums_of_any_contents(contents, longer):
    contents += [bytes([7]) * (records.LONGEST + number) for number in range(-1, longer)]
    expected = [pywrap_tensorflow.masked_crc32c(content) for content in contents]
    assert records.checksums(contents).tolist() == expected


@pytest.fixture
def contents():
    drawn = np.random.default_rng(1)
    return [drawn.bytes(n) for n in (0, 24, 1, 150, 150, records.LONGEST + 5, 3)]


def test_whole_files_are_read_like_the_package_does(tmp_path, contents):
    path = write(tmp_path / "f", contents)
    assert records.read_records(path) == (contents, None)
    assert reference(path) == (contents, False)
    assert records.read_records(write(tmp_path / "none", [])) == ([], None)


def test_a_file_that_ends_anywhere_is_not_damaged(tmp_path, contents):
    whole = write(tmp_path / "f", contents[:5]).read_bytes()
    for size in range(len(whole) + 1):
        path = tmp_path / "cut"
        path.write_bytes(whole[:size])
        assert records.read_records(path) == (reference(path)[0], None)


def test_any_wrong_byte_is_found(tmp_path, contents):
    """What stands before it is read; the place is that of the record with the byte."""
    path = write(tmp_path / "f", contents[:5])
    whole = path.read_bytes()
    begins = np.cumsum([0] + [16 + len(content) for content in contents[:4]])
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        found, damage = records.read_records(path)
        number = int(np.searchsorted(begins, place, "right")) - 1
        if place - begins[number] in range(8, 12) and damage is None:
            assert found == contents[:5]  # the length is right, its checksum alone is not
            continue
        assert found == contents[:number]
        assert damage == begins[number]


def test_nonsense_is_damaged_from_its_beginning(tmp_path):
    path = tmp_path / "f"
    for nonsense in (b"no event file at all", struct.pack("<Q", 2**63), bytes(100)):
        path.write_bytes(nonsense)
        found, damage = records.read_records(path)
        assert found == []
        assert damage == (0 if len(nonsense) >= records.HEAD else None)

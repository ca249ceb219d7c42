"""Cut off and bit-flipped HDF5 files: the same numbers or a named error, never a crash or a part.

HDF5 of the default version has no checksums, neither of numbers nor of its own structure: a
flipped bit of a coordinate is another coordinate. There, what is left to ask is that whatever comes
back fits together. With checksums (newest version, ``fletcher32``) not a bit of a number may change
unseen; strings have none even there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hdf5_files import LAYOUTS, write
from hdf5_outcome import Contents, OtherProcess
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def reader() -> Iterator[OtherProcess]:
    process = OtherProcess()
    yield process
    process.close()


class Target:
    """A file, and what a whole one says."""

    def __init__(self, folder: Path, layout: str, reader: OtherProcess, **how: object) -> None:
        self.layout, self.reader, self.damaged = layout, reader, folder / "damaged"
        write(folder / "whole", layout, **how)
        self.bytes = (folder / "whole").read_bytes()
        found = self.contents(self.bytes)
        assert isinstance(found, list)
        self.whole: Contents = found

    def contents(self, content: bytes) -> Contents | str:
        self.damaged.write_bytes(content)
        return self.reader.contents(self.damaged, self.layout)

    def place(self) -> st.SearchStrategy[int]:
        return st.integers(0, len(self.bytes) - 1)

    def flipped(self, data: st.DataObject) -> Contents | str:
        """What a file says with one to four bits flipped."""
        flip = st.tuples(self.place(), st.integers(0, 7))
        content = bytearray(self.bytes)
        for place, bit in data.draw(st.lists(flip, min_size=1, max_size=4)):
            content[place] ^= 1 << bit
        return self.contents(bytes(content))


@pytest.fixture(scope="module", params=LAYOUTS)
def plain(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, reader: OtherProcess
) -> Target:
    return Target(tmp_path_factory.mktemp("plain"), request.param, reader)


@pytest.fixture(scope="module", params=LAYOUTS)
def checksummed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, reader: OtherProcess
) -> Target:
    how = {"libver": "latest", "chunks": True, "fletcher32": True}
    return Target(tmp_path_factory.mktemp("sums"), request.param, reader, **how)


@given(st.data())
def test_a_file_that_is_cut_off_anywhere_is_an_error(plain: Target, data: st.DataObject) -> None:
    found = plain.contents(plain.bytes[: data.draw(plain.place())])
    assert isinstance(found, str)
    assert str(plain.damaged) in found


@given(st.data())
@settings(max_examples=200)
def test_with_checksums_no_number_changes_unseen(checksummed: Target, data: st.DataObject) -> None:
    found = checksummed.flipped(data)
    assert isinstance(found, str) or found == checksummed.whole


@given(st.data())
@settings(max_examples=200)
def test_without_checksums_whatever_comes_back_fits_together(
    plain: Target, data: st.DataObject
) -> None:
    assert plain.flipped(data)  # the other process checks every block that it gets


def test_a_damaged_heap_of_strings_neither_hangs_nor_crashes(
    tmp_path: Path, reader: OtherProcess
) -> None:
    target = Target(tmp_path, "spice", reader)
    heap = target.bytes.index(b"GCOL")
    for place in range(heap, heap + 48):  # its size, and number and size of its first string
        for bit in range(8):
            content = bytearray(target.bytes)
            content[place] ^= 1 << bit
            assert target.contents(bytes(content))

"""Files appear whole and all together, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from piwsl_plugins.data.outputs import Outputs
from piwsl_plugins.data.readers import DataError


def test_files_have_their_names_at_the_end_and_nothing_else_is_left(tmp_path: Path) -> None:
    paths = [tmp_path / "a.xyz", tmp_path / "b.xyz"]
    with Outputs(paths, force=False) as outputs:
        for path in paths:
            outputs.temporary(path).write_text(path.name)
            assert outputs.temporary(path).suffix == ".xyz"
        assert not any(path.exists() for path in paths)
    assert sorted(tmp_path.iterdir()) == paths
    assert [path.read_text() for path in paths] == ["a.xyz", "b.xyz"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_or_interruption_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException]
) -> None:
    old = tmp_path / "a.xyz"
    old.write_text("old")

    def interrupted() -> None:
        with Outputs([old, tmp_path / "b.xyz"], force=True) as outputs:
            outputs.temporary(old).write_text("new")
            outputs.temporary(old).with_name(outputs.temporary(old).name + "-journal").touch()
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "old"


def test_where_renaming_fails_half_way_the_old_files_come_back(tmp_path: Path) -> None:
    first, second = tmp_path / "a.xyz", tmp_path / "b.xyz"
    first.write_text("old")

    def failing() -> None:
        with Outputs([first, second], force=True) as outputs:
            outputs.temporary(first).write_text("new")
            outputs.temporary(second).unlink()

    with pytest.raises(FileNotFoundError):
        failing()
    assert list(tmp_path.iterdir()) == [first]
    assert first.read_text() == "old"


def test_a_file_that_is_there_is_only_replaced_by_force(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("old")
    with pytest.raises(DataError, match=r"a.xyz: there already; choose another name, or --force"):
        Outputs([path, tmp_path / "b.xyz"], force=False)
    with Outputs([path], force=True) as outputs:
        outputs.temporary(path).write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("old")
    link = tmp_path / "link.xyz"
    link.symlink_to(path)
    with pytest.raises(DataError, match="this is the file that is read"):
        Outputs([link], force=True, sources=[path])


def test_a_missing_folder_or_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*; make it first"):
        Outputs([tmp_path / "none" / "a.xyz"], force=False)
    (tmp_path / "a.xyz").mkdir()
    with pytest.raises(DataError, match="this is a folder"):
        Outputs([tmp_path / "a.xyz"], force=True)

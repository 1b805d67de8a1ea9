"""Result files: devices and pipes stay what they are, links are followed, and permissions are the user's."""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from halfv_core import files
from halfv_core.errors import HalfVError
from halfv_core.files import read_text, write_atomically
from halfv_core.profile import Profile
from probe.calibration.observations import Observations
from probe.stages.curves_csv import read_curve


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomically(pipe, "words")
    reader.join(timeout=10)
    assert (read, stat.S_ISFIFO(pipe.lstat().st_mode)) == (["words"], True)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_to_a_device_writes_to_the_device(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(os.devnull)
    write_atomically(tmp_path / "out", "words")
    assert (tmp_path / "out").is_symlink() and stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "p.json", tmp_path / "p.json"
    link.symlink_to(target)
    if exists:
        target.write_text("old")
    write_atomically(link, "new")
    assert (link.is_symlink(), target.read_text()) == (True, "new")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        write_atomically(tmp_path, "words")


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o022, 0o644), (0o002, 0o664)])
def test_a_new_file_obeys_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    os.umask(mask)
    write_atomically(tmp_path / "p.json", "words")
    assert stat.S_IMODE((tmp_path / "p.json").stat().st_mode) == mode


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_an_old_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    (tmp_path / "p.json").touch()
    (tmp_path / "p.json").chmod(mode)
    write_atomically(tmp_path / "p.json", b"words")
    assert stat.S_IMODE((tmp_path / "p.json").stat().st_mode) == mode
    assert (tmp_path / "p.json").read_bytes() == b"words"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
@pytest.mark.parametrize("read", [Profile.load, Observations.load, read_curve])
def test_what_has_no_end_is_not_read_for_ever(read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TEXT", 10_000)
    with pytest.raises(HalfVError, match="/dev/zero: File too large"):
        read(Path("/dev/zero"))


def test_text_is_read_whole_and_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa\r\nb")
    monkeypatch.setattr(files, "MAX_TEXT", 7)
    assert read_text(tmp_path / "x", "utf-8-sig") == "a\r\nb"
    monkeypatch.setattr(files, "MAX_TEXT", 6)
    with pytest.raises(OSError, match="File too large"):
        read_text(tmp_path / "x")

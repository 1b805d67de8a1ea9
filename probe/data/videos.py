"""Videos of samples: files, folders of frames, and lists of frames; where they are, and how some frames are opened.

What a data set may name is limited to the folders that the user gave, as with images. Nothing is downloaded.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL.Image import Image

from halfv_core.clips import Clip
from halfv_core.errors import DataError
from probe.data.images import (
    MAX_SAMPLE_PIXELS,
    SUFFIXES,
    EmbeddedImage,
    ImageSource,
    check_file,
    find_file,
    from_text,
    image_bytes,
    image_name,
    open_images,
    reading,
    resolved,
    with_paths_found,
)
from probe.data.video_decoding import MAX_DECODED_PIXELS, decode_video, evenly, video_size

FRAMES = 8
"""How many frames of a video are used by default."""

LISTED_FPS = 2.0
"""Frames per second that lists and folders of frames are taken for, whose times are not known."""

MAX_FILE = 4_000_000_000
"""Largest video file that is read, bytes."""

MAX_LISTED = 100_000
"""Most frames in a folder or list."""

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")
"""Usual endings of video files."""


@dataclass(frozen=True)
class VideoFile:
    """A video in a file, on disk or inside the data."""

    source: ImageSource
    frames: int = FRAMES
    """How many frames are used: the first, the last, and those between them at equal distances."""

    @property
    def name(self) -> str:
        """Where the video is, for messages."""
        return image_name(self.source)

    def open(self, max_pixels: int = MAX_SAMPLE_PIXELS, max_decoded: int = MAX_DECODED_PIXELS) -> Clip:
        """Decode the frames that are used to upright 8-bit RGB.

        Args:
            max_pixels: most pixels of all frames together.
            max_decoded: most pixels that are decoded on the way to them.

        Raises:
            DataError: the file is missing, or cannot be decoded within the limits (`probe.data.video_decoding`).
        """
        with self._file() as file:
            return decode_video(self.name, file, self.frames, max_pixels, max_decoded)

    def update(self, digest: Any) -> None:
        """Add what the video is to a hash of hashlib."""
        with self._file() as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]

    def pixels(self) -> int:
        """At most how many pixels the frames that are used have, by the file's header; 0 if it cannot be read."""
        try:
            with self._file() as file:
                width, height = video_size(file)
        except DataError:
            return 0
        return self.frames * width * height

    @contextmanager
    def _file(self) -> Iterator[IO[bytes]]:
        with reading("video", self.source):
            if isinstance(self.source, EmbeddedImage):
                yield io.BytesIO(self.source.read())
                return
            check_file(self.source, MAX_FILE)
            with self.source.open("rb") as file:
                yield file


@dataclass(frozen=True)
class FrameImages:
    """A video whose frames are images; its times are not known."""

    sources: tuple[ImageSource, ...]
    frames: int = FRAMES
    """As in `VideoFile`."""

    @property
    def name(self) -> str:
        """Where the video is, for messages."""
        return f"{image_name(self.sources[0])} ..."

    @property
    def used(self) -> tuple[ImageSource, ...]:
        """The frames that are used."""
        return tuple(self.sources[index] for index in evenly(len(self.sources), self.frames))

    def open(self, max_pixels: int = MAX_SAMPLE_PIXELS, max_decoded: int = MAX_DECODED_PIXELS) -> Clip:
        """Decode the frames that are used to upright 8-bit RGB, at `LISTED_FPS`.

        Args:
            max_pixels: most pixels of all frames together.
            max_decoded: as in `VideoFile.open`; here no others are decoded.

        Raises:
            DataError: a frame cannot be opened within the limits, or they differ in size.
        """
        total = len(self.sources)
        images = open_images(self.used, max_pixels)
        sizes = {image.size for image in images}
        if len(sizes) > 1:
            shown = ", ".join("{} x {} px".format(*size) for size in sorted(sizes)[:3])
            raise DataError(f"the frames of video {self.name} differ in size", got=shown)
        return Clip(tuple(images), evenly(total, self.frames), total, LISTED_FPS)

    def update(self, digest: Any) -> None:
        """Add what the video is to a hash of hashlib."""
        for source in self.used:
            digest.update(hashlib.sha256(image_bytes(source)).digest())


VideoSource = VideoFile | FrameImages


def open_videos(
    videos: Sequence[VideoSource], images: Sequence[Image] = (), max_decoded: int = MAX_DECODED_PIXELS
) -> list[Clip]:
    """Decode the videos of one prompt.

    Args:
        videos: in order.
        images: of the same prompt; with them, the frames that are used may have `MAX_SAMPLE_PIXELS`.
        max_decoded: most pixels that are decoded of each video on the way to the frames that are used.

    Raises:
        DataError: one is missing or cannot be decoded, or all of them are too large together.
    """
    left = MAX_SAMPLE_PIXELS - sum(image.width * image.height for image in images)
    clips: list[Clip] = []
    for video in videos:
        clips.append(video.open(left, max_decoded))
        left -= sum(frame.width * frame.height for frame in clips[-1].frames)
    return clips


def video_at(path: Path, frames: int = FRAMES) -> VideoSource:
    """The video in a file, or in a folder of frames.

    Raises:
        DataError: there is no such file, or there are no frames in the folder.
    """
    # An empty name is this folder to pathlib, and one that cannot be the name of a file an error.
    if path == Path() or not os.path.exists(path):  # noqa: PTH110
        raise DataError("video does not exist", got=str(path)[:200])
    return FrameImages(_frames_in(path, [path]), frames) if path.is_dir() else VideoFile(path, frames)


def find_video(
    stored: Any, folders: Sequence[Path], fetch: bool, parents: Sequence[str] = (), frames: int = FRAMES
) -> VideoSource:
    """Find the video that a value in a data set refers to.

    Args:
        stored: the path of a file or of a folder of frames, an `EmbeddedImage` that reads the bytes of a file, or a
            list of frames, each as images are stored.
        folders: where paths start from, and where the files must be.
        fetch: whether frames may be downloaded; videos never are.
        parents: folders inside of these that a file may be in.
        frames: how many frames are used.

    Raises:
        DataError: it does not exist, is in none of the folders, has no frames or too many, or is a URL.
    """
    if isinstance(stored, EmbeddedImage):
        return VideoFile(with_paths_found(stored, _bytes_at(folders, frames), "video"), frames)
    if isinstance(stored, list | tuple):
        _check_count(str(stored[0]) if stored else "a list", len(stored))
        found = [
            resolved(one, folders, fetch) if isinstance(one, EmbeddedImage) else from_text(one, folders, fetch, parents)
            for one in stored
        ]
        return FrameImages(tuple(found), frames)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", stored) or stored[:11].lower().startswith("data:"):
        raise DataError(f"video {stored[:80]} is not a local file", remedy="download it, and name the file")
    path = find_file(stored, folders, parents, what="video", suffixes=VIDEO_SUFFIXES, is_there=Path.exists)
    if path is None:
        raise DataError("video does not exist", got=str(folders[0] / stored)[:200] if folders else stored[:80])
    return FrameImages(_frames_in(path, folders), frames) if path.is_dir() else VideoFile(path, frames)


def _bytes_at(folders: Sequence[Path], frames: int) -> Callable[[str], bytes]:
    """Reads the file of a path that stands in place of a video's bytes."""

    def read(path: str) -> bytes:
        found = find_video(path, folders, False, (), frames)
        if not isinstance(found, VideoFile) or not isinstance(found.source, Path):
            raise DataError("not a video file", got=path[:80])
        with reading("video", found.source):
            check_file(found.source, MAX_FILE)
            return found.source.read_bytes()

    return read


def _frames_in(folder: Path, allowed: Sequence[Path]) -> tuple[Path, ...]:
    """The images in a folder, in the order of the numbers in their names.

    Raises:
        DataError: there are none or too many, or one is a link to another place.
    """
    with reading("video", folder):
        names = [path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    _check_count(str(folder), len(names))
    found = [find_file(str(folder.absolute() / name), allowed) for name in sorted(names, key=_numbers_as_numbers)]
    return tuple(path for path in found if path is not None)


def _numbers_as_numbers(name: str) -> list[tuple[int, str]]:
    """A key by which "frame 9" comes before "frame 10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,15})", name)]


def _check_count(name: str, frames: int) -> None:
    if not 0 < frames <= MAX_LISTED:
        raise DataError(f"video {name[:200]} has no frames or too many", got=frames, expected=f"1 to {MAX_LISTED:,}")

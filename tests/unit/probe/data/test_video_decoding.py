"""Frames of video files: the right ones, upright, within limits; and every broken or hostile file in one line."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfv_core.clips import Clip
from halfv_core.errors import DataError
from probe.data import video_decoding
from probe.data.video_decoding import decode_video, evenly
from tests.video_files import SIZE, level, write_sound, write_video

av = pytest.importorskip("av")

CODECS = {
    "mp4": ("libx264", {}),
    "mp4, reordered frames": ("libx264", {"bf": 3}),
    "mp4, hevc": ("libx265", {"x265-params": "log-level=none"}),
    "mov": ("mjpeg", {"pixels": "yuvj420p"}),
    "webm": ("libvpx", {}),
    "webm, vp9": ("libvpx-vp9", {}),
    "mkv": ("libx264", {}),
    "avi": ("mpeg4", {}),
}


def decoded(path: Path, count: int = 8, max_pixels: int = 10**9, **limits: int) -> Clip:
    with path.open("rb") as file:
        return decode_video(path.name, file, count, max_pixels, **limits)


def brightness(image: Image.Image) -> float:
    return float(np.asarray(image)[image.height // 2 :].mean())


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("count", [1, 2, 5, 20, 99])
def test_frames_are_those_of_their_indices(name: str, count: int, tmp_path: Path) -> None:
    codec, options = CODECS[name]
    clip = decoded(write_video(tmp_path / f"a.{name.partition(',')[0]}", 20, codec, **options), count)  # type: ignore[arg-type]
    assert (clip.total, clip.fps) == (20, pytest.approx(10))
    assert clip.indices == evenly(20, count)
    assert len(clip.frames) == min(count, 20)
    for index, frame in zip(clip.indices, clip.frames, strict=True):
        assert frame.size == SIZE and frame.mode == "RGB"
        assert brightness(frame) == pytest.approx(level(index), abs=3)


def test_indices_are_even_and_hold_both_ends() -> None:
    assert evenly(30, 8) == (0, 4, 8, 12, 17, 21, 25, 29)
    assert evenly(3, 8) == (0, 1, 2)
    assert evenly(9, 1) == (4,)


def test_few_frames_are_decoded_on_the_way(tmp_path: Path) -> None:
    path, limit = write_video(tmp_path / "a.mkv", 200), 4 * 7 * SIZE[0] * SIZE[1]
    assert len(decoded(path, 4, max_decoded=limit).frames) == 4
    with pytest.raises(DataError, match="takes too long to decode"):
        decoded(path, 200, max_decoded=limit)


@pytest.mark.parametrize("rotation", [-90, 90, 180])
def test_videos_are_shown_upright(rotation: int, tmp_path: Path) -> None:
    clip = decoded(write_video(tmp_path / "a.mp4", 3, rotation=rotation), 1)
    shown = np.asarray(clip.frames[0])[..., 0]
    bright = {-90: shown[:, -8:], 90: shown[:, :8], 180: shown[-8:]}[rotation]  # where the stored top goes
    assert clip.frames[0].size == (SIZE if rotation == 180 else SIZE[::-1])
    assert bright.mean() > 200 > shown.mean()


def test_transparency_is_white(tmp_path: Path) -> None:
    frames = [Image.new("P", (16, 16), color) for color in (0, 1)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 200, 0, 0])
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], transparency=0, disposal=2)
    clip = decoded(tmp_path / "a.gif")
    assert [frame.getpixel((8, 8)) for frame in clip.frames] == [(255, 255, 255), (200, 0, 0)]


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def copied(path: Path, trimmed: int = 0) -> Path:
    """A copy with its index in front, which may be read although frames are missing.

    Args:
        path: of the video.
        trimmed: so many of the first frames are kept, but not shown, as a phone trims videos.
    """
    copy = path.with_name(f"copy-{path.name}")
    with av.open(str(path)) as source, av.open(str(copy), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.pts -= round(trimmed / 10 / packet.time_base)
                packet.dts -= round(trimmed / 10 / packet.time_base)
                packet.stream = stream
                container.mux(packet)
    return copy


@pytest.mark.parametrize("trimmed", [6, 14])
def test_what_was_trimmed_is_not_shown(trimmed: int, tmp_path: Path) -> None:
    clip = decoded(copied(write_video(tmp_path / "a.mp4", 20), trimmed), 3)
    assert clip.total == 20 - trimmed
    assert brightness(clip.frames[0]) == pytest.approx(level(trimmed), abs=3)
    assert brightness(clip.frames[-1]) == pytest.approx(level(19), abs=3)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_videos_of_few_frames_are_whole(suffix: str, frames: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a.{suffix}", frames, "mpeg4")
    assert len(decoded(path).frames) == frames


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def larger(path: Path) -> Path:
    """The file with 32767 x 32767 pixels in the header of a GIF, or of each JPEG in it."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".gif":
        data[6:10] = b"\xff\x7f" * 2
    at = -1
    while (at := data.find(b"\xff\xc0", at + 1)) >= 0 and path.suffix != ".gif":
        data[at + 5 : at + 9] = b"\x7f\xff" * 2
    return written(path, bytes(data))


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    return file.getvalue()


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///{}\n#EXT-X-ENDLIST\n"
HOSTILE = {
    "cut off before its index": (lambda at: cut(write_video(at / "a.mp4"), 0.5), "not a video that can be read"),
    "cut off behind its index": (lambda at: cut(copied(write_video(at / "a.mp4")), 0.8), "is cut off; got .* of 2 s"),
    "cut off, webm": (lambda at: cut(write_video(at / "a.webm", codec="libvpx"), 0.5), "is cut off; got .* of 2 s"),
    "text": (lambda at: written(at / "a.mp4", "no video\n" * 99), "not a video that can be read"),
    "empty": (lambda at: written(at / "a.mp4", ""), "not a video that can be read"),
    "an image": (lambda at: written(at / "a.mp4", png()), "not a video that can be read"),
    "a playlist": (
        lambda at: written(at / "a.mp4", PLAYLIST.format(write_video(at / "b.mp4"))),
        "not a video that can",
    ),
    "a list of files": (
        lambda at: written(at / "a.mp4", f"ffconcat version 1.0\nfile {write_video(at / 'b.mp4')}\n"),
        "not a video that can be read",
    ),
    "sound alone": (lambda at: write_sound(at / "a.mp4"), "no video in a.mp4; got audio"),
    "no frames": (lambda at: write_video(at / "a.avi", 0, "mpeg4"), "not a video that can be read|has no frames"),
    "huge": (lambda at: larger(write_video(at / "a.gif", 3, "gif", pixels="rgb8")), "too large to be decoded safely"),
    "huge frames": (lambda at: larger(write_video(at / "a.avi", 3, "mjpeg", pixels="yuvj420p")), "cannot decode video"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, message = HOSTILE[name]
    path = make(tmp_path)
    capfd.readouterr()
    with pytest.raises(DataError, match=message) as caught:
        decoded(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "gif"])
def test_damage_anywhere_gives_frames_or_one_line(suffix: str, tmp_path: Path) -> None:
    codec, pixels = {"webm": ("libvpx", "yuv420p"), "avi": ("mpeg4", "yuv420p"), "gif": ("gif", "rgb8")}.get(
        suffix, ("libx264", "yuv420p")
    )
    whole = write_video(tmp_path / f"a.{suffix}", 12, codec, pixels=pixels).read_bytes()
    dice = random.Random(0)
    for number in range(60):
        data = bytearray(whole)
        for _ in range(1 + number // 6):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            assert decoded(written(tmp_path / "b", bytes(data)), 4).frames
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MAX_FRAMES", 19, "too many frames"),
        ("MAX_SECONDS", 1, "is too long; got 2 s"),
        ("MAX_FRAME_PIXELS", 64 * 48 - 1, "too large to be decoded safely"),
    ],
)
def test_limits(name: str, value: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4")
    decoded(path)
    monkeypatch.setattr(video_decoding, name, value)
    with pytest.raises(DataError, match=message):
        decoded(path)


def test_frames_have_a_limit_together(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    assert len(decoded(path, 4, 4 * 64 * 48).frames) == 4
    with pytest.raises(DataError, match="too large together; got 5 of 64 x 48 px; .*--frames"):
        decoded(path, 5, 4 * 64 * 48)

"""Decodes some frames of video files from untrusted sources within limits, with PyAV.

The file is read twice: once without decoding, for the times of its frames, and then from the nearest key frame to each
frame that is wanted. PyAV gets an open file, never a name, may use the demuxers of `FORMATS` alone, and opens no other
file; so a playlist, a stream on the network or a file that refers to others is no video here.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from halfv_core.clips import Clip
from halfv_core.errors import DataError

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "gif")
"""Accepted containers, as FFmpeg names its demuxers."""

MAX_FRAME_PIXELS = 40_000_000
"""Largest frame: a little more than 8K."""

MAX_FRAMES = 1_000_000
"""Most frames that a file may have."""

MAX_SECONDS = 12 * 3600
"""Longest video."""

MAX_DECODED_PIXELS = 200_000_000_000
"""Most pixels that are decoded on the way to the wanted frames: one and a half hours of 640 x 480, if the file has a
single key frame, and any length if it has some."""

MICROSECONDS = 1_000_000
"""Of a second; FFmpeg's unit for whole files."""

MAX_MISSING = 0.1
"""Largest part of the length that the container states which may be missing at the end."""


class _Timeline(NamedTuple):
    """When the frames of a video are shown, in units of its stream."""

    times: Sequence[int]
    """Of all frames, ascending."""
    keys: Sequence[int]
    """Of those at which decoding may begin."""
    fps: float


def check_decoder() -> None:
    """Raise DataError if PyAV is not installed."""
    if find_spec("av") is None:
        raise DataError(
            "video files are read with PyAV, which is not installed", remedy="pip install 'halfv-probe[video]'"
        )


def evenly(total: int, count: int) -> tuple[int, ...]:
    """The indices of `count` of `total` things from the first to the last, at equal distances; all if there are fewer.

    A single one is the middle one.
    """
    if count == 1:
        return (total // 2,)
    return tuple(np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist())


def decode_video(
    name: str, file: IO[bytes], count: int, max_pixels: int, max_decoded: int = MAX_DECODED_PIXELS
) -> Clip:
    """Decode frames of a video file at equal distances, to upright 8-bit RGB.

    Args:
        name: where the video is, for messages.
        file: opened for reading; it must be able to seek.
        count: how many frames; all, if the video has fewer.
        max_pixels: most pixels that these frames may have together.
        max_decoded: most pixels that are decoded on the way to them.

    Raises:
        DataError: PyAV is not installed, or the file is damaged, cut off, not a video in one of `FORMATS`, or exceeds
            one of the limits of this module or of the caller.
    """
    check_decoder()
    try:
        with _opened(name, file) as container:
            stream = _video_stream(name, container)
            _check_size(name, stream.codec_context.width, stream.codec_context.height)
            timeline = _timeline(name, container, stream)
            indices = evenly(len(timeline.times), count)
            pixels = stream.codec_context.width * stream.codec_context.height
            if len(indices) * pixels > max_pixels:
                raise DataError(
                    f"the frames of video {name} are too large together",
                    got=f"{len(indices)} of {stream.codec_context.width} x {stream.codec_context.height} px",
                    expected=f"{max_pixels:,} px",
                    remedy="take fewer with --frames",
                )
            wanted = [timeline.times[index] for index in indices]
            frames = tuple(_frames(name, container, stream, timeline, wanted, max_decoded))
            if len({frame.size for frame in frames}) > 1:
                raise DataError(f"the frames of video {name} differ in size")
            return Clip(frames, indices, len(timeline.times), timeline.fps)
    except DataError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        raise DataError(f"cannot decode video {name}: {_reason(error)}") from None


def video_size(file: IO[bytes]) -> tuple[int, int]:
    """(width, height) of a video's frames, pixels, from the header; (0, 0) if it cannot be read."""
    if find_spec("av") is None:
        return 0, 0
    try:
        with _opened("", file) as container:
            context = _video_stream("", container).codec_context
            return context.width, context.height
    except Exception:  # see `decode_video`
        return 0, 0


def _opened(name: str, file: IO[bytes]) -> Any:
    """The container in a file; raises DataError if it is none of `FORMATS`, or lacks what is needed to read it."""
    import av

    def refuse(*_: object) -> None:
        raise PermissionError("it refers to another file")

    av.logging.set_level(None)  # FFmpeg would write about a broken file to stderr
    limits = {"format_whitelist": ",".join(FORMATS), "max_pixels": str(MAX_FRAME_PIXELS)}
    try:
        return av.open(file, mode="r", options=limits, io_open=refuse)
    except Exception as error:
        raise DataError(
            f"{name} is not a video that can be read ({_reason(error)})", expected=f"one of {', '.join(FORMATS)}"
        ) from None


def _reason(error: Exception) -> str:
    """What PyAV says, without the number of the error and the name of the file."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def _video_stream(name: str, container: Any) -> Any:
    """The first stream of moving pictures; the cover of a sound file is none."""
    from av.stream import Disposition

    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams:
        raise DataError(f"no video in {name}", got=", ".join(one.type for one in container.streams) or "no stream")
    return streams[0]


def _check_size(name: str, width: int, height: int) -> None:
    if not 0 < width * height <= MAX_FRAME_PIXELS:  # FFmpeg says 0 x 0 of what is beyond the limit that it was given
        raise DataError(
            f"the frames of video {name} are too large to be decoded safely, or have no size",
            got=f"{width} x {height} px",
            expected=f"1 to {MAX_FRAME_PIXELS:,} px",
        )


def _timeline(name: str, container: Any, stream: Any) -> _Timeline:
    """Read the whole file without decoding.

    Raises:
        DataError: no frames, too many, too long, or cut off.
    """
    times: list[int] = []
    keys: list[int] = []
    end = 0.0
    for packet in container.demux():
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or not packet.size:
            continue
        end = max(end, float((time + (packet.duration or 0)) * packet.time_base))
        if packet.stream is stream and not packet.is_discard:
            times.append(time)
            keys += [time] if packet.is_keyframe else []
            if len(times) > MAX_FRAMES:
                raise DataError(f"video {name} has too many frames", expected=f"at most {MAX_FRAMES:,}")
    if not times:
        raise DataError(f"video {name} has no frames")
    times = sorted(set(times))
    length = float((times[-1] - times[0]) * stream.time_base)
    if length > MAX_SECONDS:
        raise DataError(f"video {name} is too long", got=f"{length:,.0f} s", expected=f"at most {MAX_SECONDS:,} s")
    usual = float(stream.average_rate or stream.guessed_rate or 0) or 1.0
    fps = (len(times) - 1) / length if length > 0 else usual
    # Some containers do not say how long the last frame is shown.
    found = max(end, float(times[-1] * stream.time_base) + 1 / fps) - (container.start_time or 0) / MICROSECONDS
    stated = (container.duration or 0) / MICROSECONDS
    if found < stated * (1 - MAX_MISSING):
        raise DataError(f"video {name} is cut off", got=f"{found:.4g} of {stated:.4g} s")
    return _Timeline(times, sorted(keys), fps)


def _frames(
    name: str, container: Any, stream: Any, timeline: _Timeline, wanted: Sequence[int], max_decoded: int
) -> Iterator[Image.Image]:
    """Decode the frames that are shown at these times; where one is missing, the next one, or the last one there is."""
    left = max_decoded
    decoded = iter(())
    frame, seen, at_end = None, -(2**63), False
    for time in wanted:
        key = _key_before(timeline.keys, time)
        if frame is None or (key is not None and key > seen):
            container.seek(timeline.times[0] if key is None else key, stream=stream, backward=True)
            decoded, at_end = container.decode(stream), False
        while not at_end and (frame is None or seen < time):
            following = next(decoded, None)
            if following is None:
                at_end = True
                break
            frame, seen = following, following.pts if following.pts is not None else seen + 1
            _check_size(name, frame.width, frame.height)
            left -= frame.width * frame.height
            if left < 0:
                raise DataError(f"video {name} takes too long to decode", remedy="encode it with more key frames")
        if frame is None:
            raise DataError(f"video {name} has no frame that can be decoded")
        if frame.is_corrupt:
            raise DataError(f"video {name} is damaged", got=f"a broken frame at {float(frame.time or 0):.2f} s")
        yield _upright(frame)


def _key_before(keys: Sequence[int], time: int) -> int | None:
    place = bisect_right(keys, time)
    return keys[place - 1] if place else None


def _upright(frame: Any) -> Image.Image:
    """The frame as 8-bit RGB, turned as its metadata ask for, with transparency on white."""
    if any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8":
        layers = Image.fromarray(frame.to_ndarray(format="rgba"))
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    else:
        image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image

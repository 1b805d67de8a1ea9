"""Small video files, written with PyAV: frame i is as bright as `level(i)`."""

from pathlib import Path
from typing import Any

import numpy as np

SIZE = (64, 48)
"""Width and height, pixels."""


def level(index: int) -> int:
    """The brightness of a frame."""
    return 30 + 7 * (index % 30)


def write_video(
    path: Path,
    frames: int = 20,
    codec: str = "libx264",
    *,
    pixels: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    rotation: int = 0,
    **options: object,
) -> Path:
    """A video of 10 frames a second, with a key frame every six frames, in the container that the suffix names."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, pixels, 6
        stream.bit_rate = 2_000_000
        stream.options = {name: str(value) for name, value in options.items()}
        if rotation:
            stream.set_display_rotation(rotation)
        container.start_encoding()
        for index in range(frames):
            shown = np.full((size[1], size[0], 3), level(index), np.uint8)
            shown[: size[1] // 4] = 255
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A sound file without a picture."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000)
        for _ in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path

"""Images from untrusted sources: decoded upright to 8-bit RGB, within limits, downloaded only on request."""

import base64
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from halfv_core.errors import DataError
from probe.data import decoding, images
from probe.data.decoding import MAX_PIXELS
from probe.data.images import EmbeddedImage, from_text, image_bytes, image_name, open_image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **settings)
    return stream.getvalue()


def noise(file_format: str = "PNG", **settings: Any) -> bytes:
    """An image file of noise."""
    return encoded(Image.fromarray(NOISE), file_format, **settings)


def opened(data: bytes) -> np.ndarray:
    """The pixels of an image file, (height, width, 3)."""
    image = open_image(EmbeddedImage("it", lambda: data))
    assert image.mode == "RGB"
    return np.asarray(image)


def refused(data: bytes) -> str:
    """The error message for an image file that cannot be opened."""
    with pytest.raises(DataError) as caught:
        opened(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(file_format: str) -> None:
    assert np.array_equal(opened(noise(file_format)), NOISE)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "MPO"])
def test_lossy_formats_are_read(file_format: str) -> None:
    if file_format == "AVIF" and file_format not in decoding._decoders():
        pytest.skip("not in this build of Pillow")
    assert opened(noise(file_format)).shape == (40, 60, 3)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(noise())
    assert np.array_equal(np.asarray(open_image(str(tmp_path / "a.png"))), NOISE)
    assert open_image(tmp_path / "a.png").size == (60, 40)


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(noise())
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.txt")), NOISE)


def test_sixteen_bits_are_scaled() -> None:
    grey = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for file_format in ("PNG", "TIFF"):
        assert opened(encoded(Image.fromarray(grey), file_format))[..., 0].tolist() == [[0, 1, 128, 255]]
    wide = Image.fromarray(np.array([[-5, 0, 65535, 900_000]], dtype=np.int32))
    assert opened(encoded(wide, "TIFF"))[..., 0].tolist() == [[0, 0, 255, 255]]


def test_sixteen_bit_colour_is_scaled() -> None:
    """Pillow cannot write such a PNG, so its chunks are assembled here."""

    def chunk(chunk_type: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + chunk_type + data + struct.pack(">I", zlib.crc32(chunk_type + data))

    row = b"\x00" + struct.pack(">6H", 0, 32896, 65535, 65535, 0, 257)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert opened(data).tolist() == [[[0, 128, 255], [255, 0, 1]]]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([-2.0, 0.0, 2.0], [0, 128, 255]),
        ([7.0, 7.0, 7.0], [0, 0, 0]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
        ([float("inf"), 0.0, 1.0, float("-inf")], [255, 0, 255, 0]),
        ([float("nan")] * 2, [0, 0]),
    ],
)
def test_fractions_fill_the_range(values: list[float], shown: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    assert opened(data)[0, :, 0].tolist() == shown


def test_printing_colours_are_converted() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for file_format in ("JPEG", "TIFF"):
        assert np.abs(opened(encoded(red, file_format))[8, 8].astype(int) - (255, 0, 0)).max() < 16


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB", "LAB", "YCbCr", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb_or_a_line(mode: str) -> None:
    data = encoded(Image.new(mode, (4, 2)), "TIFF")
    try:
        assert opened(data).shape == (2, 4, 3)
    except DataError as error:
        assert mode == "LAB" and "cannot decode image it" in str(error)


def test_transparency_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    clear.putpixel((1, 0), (255, 0, 0, 128))
    pixels = opened(encoded(clear, "PNG"))
    assert pixels[0, :3].tolist() == [[255, 0, 0], [255, 127, 127], [255, 255, 255]]
    grey = Image.new("LA", (2, 1), (0, 0))
    assert opened(encoded(grey, "PNG")).tolist() == [[[255] * 3] * 2]


def test_transparent_palettes_are_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    for file_format, transparency in [("PNG", 1), ("PNG", b"\xff\x00"), ("GIF", 1)]:
        assert opened(encoded(image, file_format, transparency=transparency)).tolist() == [[[255, 0, 0], [255] * 3]]
    named = Image.new("RGB", (2, 1), (0, 255, 0))
    assert opened(encoded(named, "PNG", transparency=(0, 255, 0))).tolist() == [[[255] * 3] * 2]


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_a_film_is_its_picture(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    extra = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **extra)
    assert opened(data)[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_stand_upright(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.new("RGB", (32, 16), "white")
    stored.paste("black", (0, 0, 8, 8))
    pixels = opened(encoded(stored, "JPEG", exif=exif, quality=95))
    assert pixels.shape[:2] == ((16, 32) if turn < 5 else (32, 16))
    corners = {"top left": (2, 2), "top right": (2, -3), "bottom right": (-3, -3), "bottom left": (-3, 2)}
    dark = [name for name, place in corners.items() if pixels[place].max() < 60]
    first = ["top left", "top right", "bottom right", "bottom left"]
    assert dark == [(first + ["top left", "top right", "bottom right", "bottom left"])[turn - 1]]


def test_a_broken_rotation_does_not_cost_the_picture() -> None:
    for exif in (b"Exif\x00\x00rubbish", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00"):
        assert opened(noise("JPEG", exif=exif)).shape == (40, 60, 3)
    exif = Image.Exif()
    exif[0x0112] = 99
    assert opened(noise("JPEG", exif=exif)).shape == (40, 60, 3)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file showpage\n%%EOF\n"


def test_programs_are_not_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript is a programming language: Pillow passes it to Ghostscript, which runs it."""

    def ghostscript(*arguments: object) -> None:
        raise AssertionError("executed")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    monkeypatch.setattr(EpsImagePlugin, "has_ghostscript", lambda: True)
    with Image.open(io.BytesIO(POSTSCRIPT)) as image, pytest.raises(AssertionError, match="executed"):
        image.load()
    assert "it is not an image that can be read; expected one of JPEG, PNG" in refused(POSTSCRIPT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"%PDF-1.7\n",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"\x89PNG\r\n\x1a\n",
        b"II*\x00",
        b"BM",
        b"P6 9999999",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        bytes(1000),
    ],
)
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    message = refused(data)
    assert "it is not an image that can be read" in message or "cannot decode image it" in message


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_pictures_that_are_cut_off_are_refused(file_format: str, share: float) -> None:
    data = noise(file_format)
    refused(data[: int(len(data) * share)])


@settings(max_examples=60, deadline=None)
@given(
    file_format=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]),
    place=st.floats(0, 1),
    value=st.binary(min_size=1, max_size=40),
)
def test_a_damaged_file_is_a_picture_or_a_line(file_format: str, place: float, value: bytes) -> None:
    data = noise(file_format)
    start = int(place * len(data))
    try:
        opened(data[:start] + value + data[start + len(value) :])
    except DataError as error:
        assert "\n" not in str(error)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims an image of this size."""

    def chunk(chunk_type: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + chunk_type + data + struct.pack(">I", zlib.crc32(chunk_type + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_bombs_are_not_decoded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "too large to be decoded safely; got 10001 x 10000 px; expected 100,000,000 px" in refused(
            bomb(10001, 10000)
        )
        assert "exceeds limit" in refused(bomb(60000, 60000))
        assert "cannot decode image it" in refused(bomb(10000, 10000))  # as large as allowed, and truncated


def test_the_limit_is_ours_and_not_changed_for_others() -> None:
    before = Image.MAX_IMAGE_PIXELS
    refused(bomb(10001, 10000))
    assert Image.MAX_IMAGE_PIXELS == before
    assert MAX_PIXELS < 2 * (before or 0)  # the limit at which Pillow itself refuses


def test_strips_are_refused() -> None:
    assert opened(encoded(Image.new("RGB", (200, 1)), "PNG")).shape == (1, 200, 3)
    assert "too narrow a strip; got 201 x 1 px; expected sides within 1:200" in refused(
        encoded(Image.new("RGB", (201, 1)), "PNG")
    )
    assert "too narrow a strip; got 2 x 401 px" in refused(encoded(Image.new("L", (2, 401)), "PNG"))


def test_files_without_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_FILE", 1000)
    (tmp_path / "a.png").write_bytes(bytes(1001))
    with pytest.raises(DataError, match="cannot read image .*a.png: larger than 1,000 bytes"):
        image_bytes(tmp_path / "a.png")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^no image at .*gone.png$"):
        open_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="cannot read image .*: Is a directory$"):
        open_image(tmp_path)


def test_text_is_a_path_from_the_base(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ä b.png").write_bytes(noise())
    assert from_text("deep/ä b.png", tmp_path, False) == tmp_path / "deep" / "ä b.png"
    assert from_text(str(tmp_path / "deep" / "ä b.png"), tmp_path, False) == tmp_path / "deep" / "ä b.png"


@pytest.mark.parametrize(
    "text",
    ["gone.png", "", ".", "a\0b", "x/" * 100, "ä" * 300, "a b " * 400, "\ud800", "file:///etc/passwd", "ftp://x/a.png"],
)
def test_text_that_is_nothing_is_one_clear_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image does not exist; got ") as caught:
        from_text(text, tmp_path, True)
    assert len(str(caught.value)) < 1200


def test_base64_is_a_picture(tmp_path: Path) -> None:
    plain = base64.b64encode(noise()).decode()
    lines = base64.encodebytes(noise()).decode()
    for text in (plain, lines, plain.rstrip("="), f"data:image/png;base64,{plain}", f"DATA:image/PNG;base64,{lines}"):
        assert np.array_equal(np.asarray(open_image(from_text(text, tmp_path, False))), NOISE)
    jpeg = base64.b64encode(noise("JPEG")).decode()
    assert jpeg.startswith("/9j/")  # looks like an absolute path
    assert open_image(from_text(jpeg, tmp_path, False)).size == (60, 40)
    assert len(image_name(from_text(plain, tmp_path, False))) < 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:image/svg+xml;utf8,<svg/>", "cannot read image data URI"),
        ("data:image/png;base64,", "data URI is not an image"),
        ("data:image/png", "data URI is not an image"),
        ("data:image/png;base64,ä", "cannot read image data URI"),
        ("x" * 300, "base64 text is not an image"),
        ("QUJD" * 100, "base64 text is not an image"),
        ("QUJD" * 400 + "!", "cannot read image base64 text"),
    ],
)
def test_base64_of_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        open_image(from_text(text, tmp_path, False))

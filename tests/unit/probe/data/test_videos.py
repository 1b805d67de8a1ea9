"""Videos in data sets: columns, files, folders, lists of frames, conversations, and what is refused."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from halfv_core.errors import DataError
from halfv_core.interleaving import IMAGE_PLACE, VIDEO_PLACE
from probe.data import videos as videos_module
from probe.data.columns import Columns
from probe.data.draw import draw_readable
from probe.data.prompt_size import prompt_size
from probe.data.samples import Sample, Samples, data_fingerprint, load_samples
from probe.data.videos import LISTED_FPS, FrameImages, VideoFile
from tests.video_files import level, write_video

pytest.importorskip("av")
ASK = {"question": "What happens?", "answer": "it moves"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A video, a picture, and a folder of twelve frames."""
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "a.mp4")
    Image.new("RGB", (32, 24), "blue").save(tmp_path / "picture.png")
    (tmp_path / "frames").mkdir()
    for number in range(12):
        Image.new("RGB", (32, 24), (level(number), 0, 0)).save(tmp_path / "frames" / f"frame_{number}.png")
    return tmp_path


def load(folder: Path, *rows: dict[str, Any], **options: Any) -> Samples:
    listing = folder / "data.jsonl"
    listing.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_samples(listing, **options)


def shades(sample: Sample) -> list[int]:
    """The red of each frame of a sample's one video."""
    (clip,) = sample.open().videos
    return [frame.getpixel((16, 20))[0] for frame in clip.frames]  # type: ignore[index]


@pytest.mark.parametrize("column", ["video", "videos", "video_path", "video_id", "videoID"])
@pytest.mark.parametrize("path", ["clips/a.mp4", "clips/a"])
def test_columns_of_videos_are_guessed(folder: Path, column: str, path: str) -> None:
    (sample,) = load(folder, {column: path, **ASK})
    assert sample.images == ()
    assert sample.videos == (VideoFile(folder / "clips" / "a.mp4", 8),)
    (clip,) = sample.open().videos
    assert (len(clip.frames), clip.total, clip.fps) == (8, 20, pytest.approx(10))


def test_a_column_is_named_and_frames_are_counted(folder: Path) -> None:
    (sample,) = load(folder, {"clip": "clips/a.mp4", **ASK}, columns=Columns(video="clip"), frames=3)
    assert shades(sample) == pytest.approx([level(0), level(10), level(19)], abs=4)
    with pytest.raises(DataError, match="at least one frame"):
        load(folder, {"video": "clips/a.mp4", **ASK}, frames=0)


def test_a_path_of_an_image_that_is_a_video(folder: Path) -> None:
    (sample,) = load(folder, {"image": "clips/a.mp4", **ASK})
    assert (len(sample.images), len(sample.videos)) == (0, 1)


@pytest.mark.parametrize(
    "stored", ["frames", [f"frames/frame_{number}.png" for number in range(12)]], ids=["folder", "list"]
)
def test_folders_and_lists_of_frames(folder: Path, stored: Any) -> None:
    """Frame 10 comes behind frame 9, and half a second is between two of them."""
    (sample,) = load(folder, {"video": stored, **ASK}, frames=4)
    assert shades(sample) == [level(0), level(4), level(7), level(11)]
    (clip,) = sample.open().videos
    assert (clip.indices, clip.total, clip.fps) == ((0, 4, 7, 11), 12, LISTED_FPS)


def test_lists_of_videos_and_of_lists(folder: Path) -> None:
    frames = ["frames/frame_1.png", "frames/frame_2.png"]
    found = load(folder, {"videos": ["clips/a.mp4", "clips/a"], **ASK}, {"videos": [frames, frames], **ASK})
    assert [[type(video) for video in sample.videos] for sample in found] == [[VideoFile] * 2, [FrameImages] * 2]


def test_an_address_beside_a_video_is_no_image(folder: Path) -> None:
    (sample,) = load(folder, {"video_id": "001", "videoID": "clips/a", "url": "https://example.org/watch", **ASK})
    assert (len(sample.images), len(sample.videos)) == (0, 1)


def test_frames_with_the_name_of_their_video_are_images(folder: Path) -> None:
    (sample,) = load(folder, {"images": ["picture.png", "picture.png"], "video_id": "clips/a", **ASK})
    assert (len(sample.images), len(sample.videos)) == (2, 0)


def test_numbers_name_videos_but_not_beside_images(folder: Path) -> None:
    write_video(folder / "4010.mp4")
    found = load(folder, {"video": 4010, **ASK}, {"image": "picture.png", "video": 1, **ASK})
    assert [(len(one.images), len(one.videos)) for one in found] == [(0, 1), (1, 0)]


def test_captions_of_videos_and_folders_of_videos(folder: Path) -> None:
    (sample,) = load(folder, {"video": "clips/a.mp4", "caption": "a square"})
    assert sample.prompt == "Describe the video in one short sentence."
    (folder / "clips" / "a.txt").write_text("a square")
    (found,) = load_samples(folder / "clips")
    assert (found.prompt, found.answer, len(found.videos)) == (sample.prompt, "a square", 1)


VIDEO = {"role": "user", "content": [{"type": "video", "video": "clips/a.mp4"}, {"type": "text", "text": "Why?"}]}
BOTH = [{"type": "text", "text": "Is this"}, {"type": "image", "image": "picture.png"}, {"type": "text", "text": "in"}]
LATER = {"role": "user", "content": [*BOTH, {"type": "video_url", "video_url": {"url": "clips/a.mp4"}}]}
ROWS = {
    "llava-video": ({"video": "clips/a.mp4", "conversations": [{"from": "human", "value": "<image>\nWhy?"}]}, "Why?"),
    "mark": ({"video": "clips/a.mp4", "question": "Watch <video> now."}, f"Watch {VIDEO_PLACE} now."),
    "chat": ({"messages": [VIDEO]}, "Why?"),
    "both": ({"messages": [LATER]}, f"Is this {IMAGE_PLACE} in {VIDEO_PLACE}"),
    "columns": (
        {"image": "picture.png", "video": "clips/a.mp4", "question": "Is <image> in <video>?"},
        f"Is {IMAGE_PLACE} in {VIDEO_PLACE}?",
    ),
    "video first": (
        {"image": "picture.png", "video": "clips/a.mp4", "question": "<video> <image> Where?"},
        f"{VIDEO_PLACE} {IMAGE_PLACE} Where?",
    ),
    "numbered": (
        {"videos": ["clips/a", "frames"], "question": "Is <video 2> longer than <video 1>?"},
        f"Is {VIDEO_PLACE}video 2 longer than {VIDEO_PLACE}video 1?",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_texts_say_where_videos_stand(folder: Path, name: str) -> None:
    row, prompt = ROWS[name]
    (sample,) = load(folder, row)
    assert sample.prompt == prompt
    parts = [part["type"] for part in sample.messages[0]["content"]]
    shown = [part for part in parts if part != "text"]
    assert sorted(shown) == ["image"] * len(sample.images) + ["video"] * len(sample.videos)
    assert shown[0] == ("video" if name == "video first" or not sample.images else "image")
    if name == "numbered":
        assert [type(video) for video in sample.videos] == [FrameImages, VideoFile]


@pytest.mark.parametrize("questions", ["last", "all"])
def test_videos_in_later_turns(folder: Path, questions: Any) -> None:
    row = {"messages": [VIDEO, {"role": "assistant", "content": "So."}, LATER]}
    found = load(folder, row, questions=questions)
    assert [(len(one.images), len(one.videos)) for one in found] == [(0, 1), (1, 2)][-len(found) :]
    assert [part["type"] for part in found[-1].messages[-1]["content"]] == ["text", "image", "text", "video"]


REFUSED = {
    "missing": ("clips/b.mp4", "video does not exist; got .*b.mp4"),
    "an address": ("https://example.org/a.mp4", "is not a local file; download it"),
    "a protocol": ("concat:clips/a.mp4", "video does not exist"),
    "outside": ("../secret.mp4", "outside the folder of the data"),
    "a link to outside": ("linked.mp4", "outside the folder of the data"),
    "a folder outside": ("/usr", "outside the folder of the data"),
    "an empty folder": ("empty", "has no frames or too many; got 0"),
    "frames that are links to outside": ("stolen", "outside the folder of the data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_be_read(folder: Path, name: str) -> None:
    stored, message = REFUSED[name]
    data = folder / "data"
    (data / "empty").mkdir(parents=True)
    (data / "stolen").mkdir()
    write_video(folder / "secret.mp4")
    (data / "linked.mp4").symlink_to(folder / "secret.mp4")
    (data / "stolen" / "0.png").symlink_to(folder / "picture.png")
    with pytest.raises(DataError, match=message) as caught:
        load(data, {"video": stored, **ASK})
    assert "\n" not in str(caught.value)


def test_frames_of_one_video_have_one_size(folder: Path) -> None:
    Image.new("RGB", (99, 24)).save(folder / "frames" / "frame_5.png")
    (sample,) = load(folder, {"video": "frames", **ASK})
    with pytest.raises(DataError, match="differ in size; got 32 x 24 px, 99 x 24 px"):
        sample.open()


def test_images_and_videos_share_a_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample,) = load(folder, {"image": "picture.png", "video": "clips/a.mp4", **ASK}, frames=2)
    monkeypatch.setattr(videos_module, "MAX_SAMPLE_PIXELS", 32 * 24 + 2 * 64 * 48)
    assert len(sample.open().videos) == 1
    monkeypatch.setattr(videos_module, "MAX_SAMPLE_PIXELS", 2 * 64 * 48)
    with pytest.raises(DataError, match="too large together"):
        sample.open()


def test_broken_videos_are_replaced_when_samples_are_drawn(folder: Path) -> None:
    (folder / "broken.mp4").write_bytes((folder / "clips" / "a.mp4").read_bytes()[:900])
    found = load(folder, *({"video": "clips/a.mp4", **ASK} for _ in range(3)), {"video": "broken.mp4", **ASK})
    drawn, rejected = draw_readable(found, 4, 0)
    assert len(drawn) == 3
    assert "broken.mp4 is not a video that can be read" in rejected[0].reason


def test_videos_inside_the_data(folder: Path, tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [
        {"bytes": (folder / "clips" / "a.mp4").read_bytes(), "path": None},
        {"bytes": None, "path": "clips/a.mp4"},
        {"bytes": None, "path": "/etc/passwd"},
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"video": pa.array(cells, kind), "question": ["Why?"] * 3})
    parquet.write_table(table, folder / "data.parquet")
    inside, named, secret = load_samples(folder / "data.parquet")
    assert shades(inside) == shades(named) and len(shades(inside)) == 8
    with pytest.raises(DataError, match="outside the folder of the data"):
        secret.open()


def test_a_fingerprint_is_of_the_files_and_the_frames(folder: Path) -> None:
    def fingerprint(frames: int) -> str:
        return data_fingerprint(load(folder, {"video": "clips/a.mp4", **ASK}, frames=frames))

    first, others = fingerprint(8), {fingerprint(4)}
    assert fingerprint(8) == first
    write_video(folder / "clips" / "a.mp4", 21)
    assert len({first, fingerprint(8), *others}) == 3


def test_long_videos_have_long_prompts(folder: Path) -> None:
    row = {"video": "clips/a.mp4", **ASK}
    few, many = (prompt_size(load(folder, row, frames=frames)[0]) for frames in (2, 8))
    assert many - few == pytest.approx(6 * 64 * 48 / 28**2)
    listed = load(folder, {"video": "frames", **ASK}, frames=2)[0]
    assert prompt_size(listed) == pytest.approx(2 * 32 * 24 / 28**2 + len(listed.text) / 4)


def test_without_pyav_one_line_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("probe.data.video_decoding.find_spec", lambda name: None if name == "av" else found(name))
    assert load(folder, {"video": "frames", **ASK})[0].open().videos  # frames need none
    with pytest.raises(
        DataError, match=r"are read with PyAV, which is not installed; pip install 'halfv-probe\[video\]'"
    ):
        load(folder, {"video": "clips/a.mp4", **ASK})


def test_a_sample_shows_something() -> None:
    with pytest.raises(ValueError, match="a sample needs an image or a video"):
        Sample(id="a", question="Why?")

"""Conversation: messages as chat templates take them, with the images and videos that they show."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from halfv_core.clips import Clip

if TYPE_CHECKING:
    from PIL.Image import Image


class Conversation(NamedTuple):
    """Messages, and what their places for images and videos show, each kind in order."""

    messages: Sequence[Mapping[str, Any]]
    images: Sequence["Image"] = ()
    videos: Sequence[Clip] = ()

    @property
    def pictures(self) -> list["Image"]:
        """The images, followed by the frames of the videos."""
        return [*self.images, *(frame for clip in self.videos for frame in clip.frames)]

    def with_frames_as_images(self) -> "Conversation":
        """The same with as many images in the place of each video as it has frames."""
        images, videos = iter(self.images), iter(self.videos)
        shown: list[Image] = []

        def parts(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
            found = [next(images)] if part["type"] == "image" else []
            if part["type"] == "video":
                found = list(next(videos).frames)
            shown.extend(found)
            return [{"type": "image"} for _ in found] or [part]

        messages = [
            {**message, "content": [one for part in message["content"] for one in parts(part)]}
            for message in self.messages
        ]
        return Conversation(messages, shown)

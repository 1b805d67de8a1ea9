"""A question about images and videos, with all that was said before it."""

from typing import Any, Literal

from PIL import Image
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from halfv_core.conversation import Conversation
from halfv_core.interleaving import chat_messages
from probe.data.choices import CHOICE_LETTERS
from probe.data.images import ImageSource, open_images
from probe.data.videos import VideoSource, open_videos

LETTER_INSTRUCTION = "Answer with the option's letter from the given choices directly."
"""The instruction for multiple choice questions that have none of their own."""


class Turn(BaseModel):
    """A turn of a conversation."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant"]
    text: str
    """An `IMAGE_PLACE` or `VIDEO_PLACE` in it is the place of an image or a video."""


class Sample(BaseModel):
    """One question about one or more images or videos."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    id: str
    images: tuple[ImageSource, ...] = Field(validation_alias=AliasChoices("images", "image"), default=())
    """The images in the order of the prompt.

    The last ones stand at the prompt's `IMAGE_PLACE`s, and the others in front of the first user turn."""
    videos: tuple[VideoSource, ...] = ()
    """The videos, likewise, at the `VIDEO_PLACE`s; those in front stand behind the images."""
    turns: tuple[Turn, ...] = ()
    """What was said before the question, oldest first."""
    question: str = Field(min_length=1)
    choices: tuple[str, ...] = ()
    """The choices of a multiple choice question, in the order of their letters."""
    context: str | None = None
    """Text before the question."""
    instruction: str | None = None
    """Text after the question: how to answer it."""
    answer: str | None = None
    """The reference answer; a letter if there are choices."""
    answers: tuple[str, ...] = ()
    """All accepted reference answers, `answer` first."""
    votes: tuple[int, ...] = ()
    """Number of annotators who gave each of `answers`; empty if every answer was given once."""
    family: str | None = None
    """The type of question, such as counting or colour."""

    @field_validator("id", "answer", mode="before")
    @classmethod
    def _numbers_are_text_too(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value

    @model_validator(mode="before")
    @classmethod
    def _one_answer_is_a_list_too(cls, values: dict[str, object]) -> dict[str, object]:
        answer, answers = values.get("answer"), values.get("answers")
        if answer is not None:
            return values if answers else values | {"answers": (str(answer),)}
        return values | {"answer": answers[0]} if isinstance(answers, list | tuple) and answers else values

    @model_validator(mode="after")
    def _shows_something(self) -> "Sample":
        if not self.images and not self.videos:
            raise ValueError("a sample needs an image or a video")
        return self

    @property
    def prompt(self) -> str:
        """The text of the last user's turn: context, question, lettered choices, instruction.

        An `IMAGE_PLACE` or `VIDEO_PLACE` of `halfv_core.interleaving` in it is the place of an image or a video.
        """
        lettered = [f"{letter}. {choice}" for letter, choice in zip(CHOICE_LETTERS, self.choices, strict=False)]
        instruction = self.instruction or (LETTER_INSTRUCTION if self.choices else None)
        return "\n".join(part for part in (self.context, self.question, *lettered, instruction) if part)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The whole conversation, as `PromptProcessor.conversation` takes it.

        Raises:
            DataError: more places than images or videos.
        """
        return chat_messages(len(self.images), self._said, len(self.videos))

    @property
    def text(self) -> str:
        """The whole conversation as one text: the prompt, with the turns before it, if there are any."""
        if not self.turns:
            return self.prompt
        return "\n".join(f"{role}: {text}" for role, text in self._said)

    @property
    def _said(self) -> list[tuple[str, str]]:
        """Role and text of all turns, that of the question included."""
        return [*((turn.role, turn.text) for turn in self.turns), ("user", self.prompt)]

    def open_images(self) -> list[Image.Image]:
        """Decode the images to RGB.

        Raises:
            DataError: an image is missing or cannot be decoded, or the images are too large together.
        """
        return open_images(self.images)

    def open(self) -> Conversation:
        """The whole conversation, with the images and the frames of the videos decoded to RGB.

        Raises:
            DataError: an image or a video is missing or cannot be decoded, or all of them are too large together.
        """
        images = self.open_images()
        return Conversation(self.messages, images, open_videos(self.videos, images))

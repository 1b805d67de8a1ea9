"""Videos as processors take them: some frames, with their places in the whole video."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Clip:
    """Frames of a video, in order."""

    frames: tuple["Image", ...]
    """Of the same size."""
    indices: tuple[int, ...]
    """The place of each frame among all frames of the video, from 0, ascending."""
    total: int
    """How many frames the video has."""
    fps: float
    """Frames of the video per second."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What transformers' `VideoMetadata` is made of; it gives frames their times."""
        return {
            "total_num_frames": self.total,
            "fps": self.fps,
            "frames_indices": list(self.indices),
            "duration": self.total / self.fps,
            "width": self.frames[0].width,
            "height": self.frames[0].height,
        }

    @property
    def labels(self) -> list[str]:
        """What to call each frame."""
        return [f"frame {index + 1} of {self.total}" for index in self.indices]

    def of_at_least(self, frames: int) -> "Clip":
        """The clip with its last frame repeated if it has fewer frames than that."""
        missing = max(0, frames - len(self.frames))
        return replace(
            self,
            frames=self.frames + self.frames[-1:] * missing,
            indices=self.indices + self.indices[-1:] * missing,
        )

    @property
    def sampled_fps(self) -> float:
        """Frames per second among `frames`."""
        return len(self.frames) / self.total * self.fps

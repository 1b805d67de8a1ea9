"""Observations: what a calibration measured on single samples. Kept next to the profile for the report; never deployed.

Observations.of(Path("profile.json"))      # reads profile.observations.json if it belongs to the same calibration
"""

from pathlib import Path

from pydantic import ValidationError, model_validator

from halfv_core.errors import DataError
from halfv_core.files import read_text, write_atomically
from halfv_core.profile import Profile
from halfv_core.records import Layer, Record
from probe.common.region import Region


class SampleCurves(Record):
    """The curves of one sample in nats; L is the number of decoder layers."""

    id: str
    visual: tuple[float, ...]
    """L+1 points, like `Curves.visual`."""
    text: tuple[float, ...]
    joint: tuple[float, ...]
    kl: tuple[float, ...]
    """L points; none if the KL curve was not measured on this sample."""


class Picture(Record):
    """A small copy of one image of a prompt."""

    width: int
    """Width of the original image, pixels."""
    height: int
    webp: str
    """The image as base64 WebP, at most 448 pixels on its longer side."""
    label: str = ""
    """Which frame of a video it is; empty for an image."""


class Attention(Record):
    """The attention that the last prompt token of the full model pays to each visual token."""

    layer: Layer
    """The layer whose attention this is."""
    shares: tuple[float, ...]
    """One per visual token: softmax over all keys, averaged over heads. The sum is at most 1."""


class Selection(Record):
    """The visual tokens that are kept from one layer on."""

    layer: Layer
    selector: str
    kept: tuple[int, ...]
    """Indices into the prompt's visual tokens, ascending."""
    anchors: tuple[int, ...]
    """The kept tokens that attention chose; the others were chosen for coverage, or by the selector's own rule."""


class Example(Record):
    """One sample under the plan."""

    id: str
    question: str
    """The prompt's text."""
    references: tuple[str, ...]
    """Right answers, if the data have them."""
    full: str
    """The full model's answer."""
    accelerated: str
    """The answer under the plan."""
    pictures: tuple[Picture, ...]
    """The images in the order of the prompt, then the frames of videos; of frames that share tokens, the first one."""
    regions: tuple[Region | None, ...]
    """One per visual token, in the order of the prompt; null for tokens without a place, such as the end of a row."""
    selections: tuple[Selection, ...]
    """Ordered by layer."""
    attentions: tuple[Attention, ...]
    """Ordered by layer: the layer before Stage II, and the first layer of Stage III, if there is one."""

    @model_validator(mode="after")
    def _indices_fit(self) -> "Example":
        tokens, images = len(self.regions), len(self.pictures)
        if any(index >= tokens for selection in self.selections for index in (*selection.kept, *selection.anchors)):
            raise ValueError(f"a selection names a visual token beyond the {tokens} there are")
        if any(len(attention.shares) != tokens for attention in self.attentions):
            raise ValueError(f"an attention has not one share for each of the {tokens} visual tokens")
        if any(region.image >= images for region in self.regions if region is not None):
            raise ValueError(f"a region lies on an image beyond the {images} there are")
        return self


class Observations(Record):
    """The observations of one calibration."""

    config_fingerprint: str
    """Fingerprint of the model's config; together with `created`, it identifies the calibration."""
    created: str
    """Creation time, as in the profile's provenance."""
    samples: tuple[SampleCurves, ...]
    """In the order of `Provenance.sample_ids`."""
    examples: tuple[Example, ...]

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write_atomically(path, self.model_dump_json() + "\n")

    @classmethod
    def load(cls, path: Path) -> "Observations":
        """Read a file.

        Raises:
            DataError: the file does not exist, or is not a file of observations.
        """
        try:
            return cls.model_validate_json(read_text(path))
        except FileNotFoundError:
            raise DataError("no such file", got=str(path)) from None
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}", remedy="calibrate again") from None
        except (ValidationError, UnicodeDecodeError) as error:
            problem = _first_problem(error) if isinstance(error, ValidationError) else error
            raise DataError(f"{path} holds no observations: {problem}", remedy="calibrate again") from None

    @classmethod
    def of(cls, profile_path: Path) -> "Observations | None":
        """The observations next to a profile; None if there are none, or if they belong to another calibration.

        Raises:
            DataError: the file exists, but cannot be read.
        """
        path = beside(profile_path)
        if not path.exists():
            return None
        observations, provenance = cls.load(path), Profile.load(profile_path).provenance
        same = (observations.created, observations.config_fingerprint) == (
            provenance.created,
            provenance.config_fingerprint,
        )
        return observations if same else None


def beside(profile_path: Path) -> Path:
    """Path of the observations of a profile: profile.json -> profile.observations.json."""
    return profile_path.with_suffix(".observations.json")


def _first_problem(error: ValidationError) -> str:
    """Describe the first error without the value, which may be the whole file."""
    first = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}"

"""Observations: what a calibration saw sample by sample; kept beside its profile for the report, never deployed.

Observations.of(Path("profile.json"))      # reads profile.observations.json, if it is there and of the same calibration
"""

from pathlib import Path

from pydantic import ValidationError, model_validator

from halfv_core.errors import DataError
from halfv_core.profile import Profile, write_atomically
from halfv_core.records import Record
from probe.common.region import Region


class SampleCurves(Record):
    """The curves of one sample, nats; L is the number of decoder layers."""

    id: str
    visual: tuple[float, ...]
    """L+1 points, as `Curves.visual`."""
    text: tuple[float, ...]
    joint: tuple[float, ...]
    kl: tuple[float, ...]
    """L points."""


class Picture(Record):
    """One image of a prompt, small."""

    width: int
    """Pixels of the image as it was given."""
    height: int
    webp: str
    """The image, at most 448 pixels on its longer side, as base64 WebP."""


class Attention(Record):
    """What the last prompt token of the full model pays each visual token."""

    layer: int
    """The layer whose attention this is."""
    shares: tuple[float, ...]
    """One for each visual token: softmax over all keys, mean over heads; their sum is at most 1."""


class Selection(Record):
    """Visual tokens that stay from one layer on."""

    layer: int
    selector: str
    kept: tuple[int, ...]
    """Indices into the prompt's visual tokens, ascending."""
    anchors: tuple[int, ...]
    """Those of `kept` that attention chose; the others are there for coverage, or for whatever the selector goes by."""


class Example(Record):
    """One sample under the plan."""

    id: str
    question: str
    """The prompt's text."""
    references: tuple[str, ...]
    """Right answers, where the data have them."""
    full: str
    """The full model's answer."""
    accelerated: str
    """The answer under the plan."""
    pictures: tuple[Picture, ...]
    """The images, in the order of the prompt; the frames of a video one by one."""
    regions: tuple[Region | None, ...]
    """For each visual token, in the order of the prompt; null where a token looks at no place (a row's end, say)."""
    selections: tuple[Selection, ...]
    """By layer."""
    attentions: tuple[Attention, ...]
    """By layer: before Stage II and in Stage III, if there is one."""

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
    """All of them."""

    config_fingerprint: str
    """Of the model; with `created`, which calibration these belong to."""
    created: str
    """As in the profile's provenance."""
    samples: tuple[SampleCurves, ...]
    """In the order of `Provenance.sample_ids`."""
    examples: tuple[Example, ...]

    def save(self, path: Path) -> None:
        """Write, whole or not at all."""
        write_atomically(path, self.model_dump_json() + "\n")

    @classmethod
    def load(cls, path: Path) -> "Observations":
        """Read.

        Raises:
            DataError: a file that is not there, or holds something else.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError("no such file", got=str(path)) from None
        except (ValidationError, UnicodeDecodeError) as error:
            problem = _first_problem(error) if isinstance(error, ValidationError) else error
            raise DataError(f"{path} holds no observations: {problem}", remedy="calibrate again") from None

    @classmethod
    def of(cls, profile_path: Path) -> "Observations | None":
        """Those beside a profile; None where there are none, or they are of another calibration.

        Raises:
            DataError: there is a file, but it cannot be read.
        """
        path = observations_path(profile_path)
        if not path.exists():
            return None
        observations, provenance = cls.load(path), Profile.load(profile_path).provenance
        same = (observations.created, observations.config_fingerprint) == (
            provenance.created,
            provenance.config_fingerprint,
        )
        return observations if same else None


def observations_path(profile_path: Path) -> Path:
    """Where the observations of a profile are kept: profile.json -> profile.observations.json."""
    return profile_path.with_suffix(".observations.json")


def _first_problem(error: ValidationError) -> str:
    """The first one, without the value: that may be the whole file."""
    first = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}"

"""The records of a comparison of methods: a row for each method and budget, and what was refused."""

from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from halfv_core.errors import HalfVError, first_fault
from halfv_core.files import read_text, write_atomically
from halfv_core.plan import Plan
from halfv_core.records import Record
from probe.evaluation.conditions import Conditions
from probe.evaluation.grading import Metric

_REMEDY = "make it again with `halfv-probe compare-methods`"


class Row(Record):
    """One plan over all samples.

    Means are taken over the question families' means. Ratios divide the full model's cost by the plan's, so that 2
    means half the cost. They are those of the runs, all samples together.
    """

    method: str
    """Registered name; `full` for the model without a plan, `profile` for a profile's plan."""
    title: str
    is_control: bool
    """Whether it is a control, which every method has to be above."""
    budget: float | None
    """FLOPs ratio that was asked for; null for the full model, a profile, and a method's own settings."""
    plan: Plan
    by_family: dict[str, float]
    """Question family -> mean grade."""
    accuracy: float
    """Mean grade."""
    retention: float | None
    """Accuracy divided by the full model's; null if that is 0."""
    retention_interval: tuple[float, float] | None
    """95 % bootstrap interval, paired over all rows; null if there are too few samples, or too few that the full model
    answers correctly."""
    agreement: float
    """Share of answers that equal the full model's, character by character."""
    visual_flops_ratio: float
    """Ratio of the prefill FLOPs of visual tokens alone, as papers report it; see halfv_core.cost."""
    flops_ratio: float
    """Ratio of the prefill FLOPs of the decoder's layers, over all tokens."""
    model_flops_ratio: float
    """Ratio of the prefill FLOPs of the whole model, including vision tower, projector and LM head."""
    kv_ratio: float
    """Ratio of the KV cache bytes of the prompts."""
    prefill_seconds: float
    """Time of the decoder's pass over a prompt, selection included, median of the batches."""
    prefill_ratio: float
    """The full model's time divided by this one, for the same samples in the same run; median of the batches."""
    selection_share: float
    """Share of that time that is spent choosing and dropping tokens, median of the batches."""

    @property
    def label(self) -> str:
        """Name and budget."""
        return self.method if self.budget is None else f"{self.method} {self.budget:g}x"


class Refusal(Record):
    """A method that could not be run, or not at one of the budgets."""

    method: str
    title: str
    budget: float | None
    """FLOPs ratio; null if the method was refused as a whole."""
    reason: str
    """One line."""


class Question(Record):
    """One sample, with what every row answered."""

    id: str
    family: str
    references: tuple[str, ...]
    grading: Metric
    """The metric by which its answers are graded."""
    answers: tuple[str, ...]
    """In the order of the rows."""
    grades: tuple[float, ...]
    """Likewise, 0..1."""


class MethodComparison(Conditions):
    """The result of `halfv-probe compare-methods`."""

    kind: Literal["method comparison"] = "method comparison"
    schema_version: Literal[1] = 1
    model_type: str
    budgets: tuple[float, ...]
    """FLOPs ratios, ascending."""
    visual_tokens: int
    """Of the typical prompt that the plans were made for."""
    text_tokens: int
    """Likewise."""
    batch: int
    """Number of samples that ran together."""
    rows: tuple[Row, ...]
    """The full model, the profile if there is one, the controls, then the other methods, by name and budget."""
    refused: tuple[Refusal, ...]
    samples: int
    questions: tuple[Question, ...] = ()
    """All samples; left out of records that are only for tables and charts."""

    @property
    def full(self) -> Row:
        """The model without a plan."""
        return self.rows[0]

    def without_questions(self) -> "MethodComparison":
        """The same without the single answers."""
        return self.model_copy(update={"questions": ()})

    def save(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "MethodComparison":
        """Read and validate a record.

        Raises:
            HalfVError: the file is missing, or is not such a record.
        """
        try:
            return cls.model_validate_json(read_text(Path(path)))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise HalfVError(f"cannot read comparison {path}: {reason}") from None
        except ValidationError as error:
            raise HalfVError(f"comparison {path} is not valid: {first_fault(error)}", remedy=_REMEDY) from None
        except HalfVError as error:  # of a plan
            raise HalfVError(f"comparison {path} is not valid: {error}", remedy=_REMEDY) from None


def is_comparison(data: JsonValue) -> bool:
    """Whether parsed JSON says that it is a comparison of methods."""
    return isinstance(data, dict) and data.get("kind") == MethodComparison.model_fields["kind"].default

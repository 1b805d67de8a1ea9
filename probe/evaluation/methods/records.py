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


NO_DEARER = 0.98
"""Plans whose FLOPs ratios differ by less than this factor cost the same."""


def label_of(method: str, budget: float | None, setting: str) -> str:
    """Name of a plan and its budget; without a budget, what is set otherwise than by default, if anything is."""
    if budget is not None:
        return f"{method} {budget:g}x"
    return f"{method} ({setting})" if setting else method


class Candidate(Record):
    """One setting of a method at a budget, as tuning found it."""

    setting: str
    """What is set otherwise than by default; empty for nothing."""
    plan: Plan
    accuracy: float | None
    """Mean grade on the tuning samples, over the question families' means; null if it failed."""
    log_likelihood: float | None
    """Mean log-likelihood of the full model's answers on them, nats per token; null if it failed."""
    failure: str | None = None
    """Why it could not be run."""


class TunedOn(Record):
    """The samples on which settings were chosen."""

    data: str
    """Name or path of the data, as the user gave it."""
    data_fingerprint: str
    samples: int
    sample_ids: tuple[str, ...]
    """In the order of the draw."""
    seed: int
    """Of the draw, which is that of `halfv-probe calibrate` with as many samples."""
    accuracy: float
    """Mean grade of the full model on them."""
    runs: int
    """Number of settings times samples that were run."""
    shared: int = 0
    """Number of them that are also in the comparison, as far as their ids tell; results on those are optimistic."""


class Row(Record):
    """One plan over all samples.

    Means are taken over the question families' means. Ratios divide the full model's cost by the plan's, so that 2
    means half the cost. They are those of the runs, all samples together.
    """

    method: str
    """Registered name; `full` for the model without a plan, `profile` for a profile's plan, `calibrated` for the best
    of its frontier at a budget, and the same with `:NAME` for a further profile."""
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
    setting: str = ""
    """What is set otherwise than by default, such as "layer 4"; empty for nothing."""
    candidates: tuple[Candidate, ...] = ()
    """The settings that were tried in tuning, the default first if it is within reach; empty without tuning."""

    @property
    def chosen(self) -> Candidate | None:
        """What tuning found of the setting that was chosen; None without tuning."""
        return next((one for one in self.candidates if one.setting == self.setting), None)

    @property
    def by_default(self) -> Candidate | None:
        """What tuning found of the default setting; None without tuning, or if it cannot reach the budget."""
        return next((one for one in self.candidates if not one.setting), None)

    @property
    def label(self) -> str:
        """See `label_of`."""
        return label_of(self.method, self.budget, self.setting)


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
    """The full model, the plans of profiles, the controls, then the other methods, by name and budget."""
    refused: tuple[Refusal, ...]
    samples: int
    tuned_on: TunedOn | None = None
    """Null if all methods have their default settings."""
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

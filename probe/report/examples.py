"""The examples on the page: one sample each, with its images, question and answers."""

from typing import NamedTuple

from probe.calibration.observations import Example
from probe.evaluation.grading import exact_match
from probe.report.drawing import Drawing, file_name
from probe.report.figures import Subject
from probe.report.figures.example import example_figure


class Card(NamedTuple):
    """One example with its chart."""

    example: Example
    chart: Drawing

    @property
    def same(self) -> bool:
        """Whether the answer is the same with and without the plan."""
        return self.example.full == self.example.accelerated

    @property
    def verdict(self) -> str:
        """A label that says whether the answer changed, and if so, whether it is still right."""
        if self.same:
            return "✓ same answer"
        right = exact_match(self.example.accelerated, self.example.references) == 1.0
        return "≠ another answer, a right one" if right else "✗ another answer"


def cards(subject: Subject, prefix: str) -> list[Card]:
    """One card for each example in the subject's observations."""
    examples = subject.observations.examples if subject.observations else ()
    owner = subject.profile.provenance.model_id
    return [
        Card(example, _drawing(example, f"{prefix}-example-{number}", owner))
        for number, example in enumerate(examples, 1)
    ]


def _drawing(example: Example, id: str, owner: str) -> Drawing:
    tokens = len(example.regions)
    kept = [f"{len(one.kept)} of {tokens} visual tokens stay from layer {one.layer} on" for one in example.selections]
    return Drawing(
        id=id,
        title=example.id,
        caption="",
        alt=f"The image of {example.id} with the places of its kept visual tokens. {'; '.join(kept)}.",
        figure=example_figure(example),
        table=None,
        table_id=id,
        file=file_name(owner, example.id),
    )

"""The examples of the page: one sample each, with its picture, what was asked and what was answered."""

from typing import NamedTuple

from probe.calibration.observations import Example
from probe.evaluation.grading import exact_match
from probe.report.drawing import Drawing, file_name
from probe.report.figures import Subject
from probe.report.figures.example import example_figure


class Card(NamedTuple):
    """One example."""

    seen: Example
    chart: Drawing

    @property
    def same(self) -> bool:
        """Whether both models answer alike."""
        return self.seen.full == self.seen.accelerated

    @property
    def verdict(self) -> str:
        """The same in words, and whether another answer is a right one."""
        if self.same:
            return "✓ same answer"
        right = exact_match(self.seen.accelerated, self.seen.references) == 1.0
        return "≠ another answer, a right one" if right else "✗ another answer"


def cards(subject: Subject, prefix: str) -> list[Card]:
    """One for each example that was kept."""
    found = subject.observations.examples if subject.observations else ()
    owner = subject.profile.provenance.model_id
    return [Card(seen, _drawing(seen, f"{prefix}-example-{number}", owner)) for number, seen in enumerate(found, 1)]


def _drawing(seen: Example, id: str, owner: str) -> Drawing:
    tokens = len(seen.regions)
    kept = [f"{len(one.kept)} of {tokens} visual tokens stay from layer {one.layer} on" for one in seen.selections]
    return Drawing(
        id=id,
        title=seen.id,
        caption="",
        alt=f"The image of {seen.id} with the places of its kept visual tokens. {'; '.join(kept)}.",
        figure=example_figure(seen),
        table=None,
        table_id=id,
        file=file_name(owner, seen.id),
    )

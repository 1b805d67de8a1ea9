"""VisiPruner's contributions, the selector and the rules that read them."""

from dataclasses import dataclass

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.rules import make_rule
from halfv_core.rules.contribution import Contribution
from halfv_core.rules.exhausted import Exhausted
from halfv_core.selectors.contributions import contributions
from halfv_core.selectors.visipruner import VisiPruner
from tests.peers import peer_cases

CASES = peer_cases("visipruner")


@dataclass
class OneRow:
    """A prompt of which only the last row's attention and the values are known."""

    row: torch.Tensor
    """(H, n)."""
    all_values: torch.Tensor
    """(H_kv, n, d)."""
    visual: torch.Tensor

    @property
    def question(self) -> torch.Tensor:
        return torch.arange(int(self.visual[-1]) + 1, self.row.shape[1])

    def attention(self, tokens: torch.Tensor, at: str = "previous") -> torch.Tensor:
        assert tokens.tolist() == [self.row.shape[1] - 1] and at == "previous"
        return self.row[:, None]

    def values(self, at: str = "previous") -> torch.Tensor:
        return self.all_values


def prompt_of(case: dict, visual: int | None = None) -> OneRow:
    start = case["visual_start"]
    return OneRow(case["attention"][0], case["values"][0], torch.arange(start, start + (visual or case["visual"])))


@pytest.mark.parametrize("case", CASES)
def test_trigger_selection_and_vote_are_the_peers(case: dict) -> None:
    prompt = prompt_of(case)
    assert bool(Contribution(case["layer_threshold"]).holds(prompt)) == case["triggered"]
    if case["triggered"]:
        kept = prompt.visual[VisiPruner(case["tokens_threshold"]).choose_any(prompt)]
        assert kept.tolist() == case["kept"].tolist()
    assert bool(Exhausted().holds(prompt_of(case, 10))) == case["exit_vote_first_10"]


def test_a_contribution_is_what_the_output_lacks_without_the_token() -> None:
    generator = torch.Generator().manual_seed(1)
    attention = torch.rand(4, 9, generator=generator).softmax(1)
    values = torch.randn(2, 9, 3, generator=generator)  # two query heads share one value head
    visual = torch.tensor([2, 3, 6])
    found = contributions(attention, values, visual)
    output = torch.cat([attention[head] @ values[head // 2] for head in range(4)])
    for place, token in enumerate(visual.tolist()):
        part = torch.cat([attention[head, token] * values[head // 2, token] for head in range(4)])
        torch.testing.assert_close(found.norms[place], part.norm())
        cosine = torch.cosine_similarity(output - part, output, dim=0)
        torch.testing.assert_close(found.cosines[place], cosine)
    torch.testing.assert_close(found.output_norm, output.norm())


def test_a_relative_threshold_does_not_depend_on_the_scale_of_values() -> None:
    prompt = prompt_of(CASES[0])
    larger = OneRow(prompt.row, prompt.all_values * 50, prompt.visual)
    relative, absolute = VisiPruner(0.3, relative=True), VisiPruner(0.3)
    assert torch.equal(relative.choose_any(prompt), relative.choose_any(larger))
    assert len(absolute.choose_any(larger)) == len(larger.visual) > len(absolute.choose_any(prompt))


def test_rules_are_made_by_name() -> None:
    assert make_rule("exhausted", {"layers": 3}).votes() == 3
    assert make_rule("contribution", {}).votes() == 1
    assert make_rule("contribution", {}).reads() == {"previous"}
    with pytest.raises(PlanError, match="unknown rule; got 'exhaustive'; expected one of contribution, exhausted"):
        make_rule("exhaustive", {})
    with pytest.raises(PlanError, match="rule 'exhausted' has no option 'layer'; expected threshold, layers"):
        make_rule("exhausted", {"layer": 3})
    with pytest.raises(PlanError, match="layers is a number of layers; got 0"):
        make_rule("exhausted", {"layers": 0})
    with pytest.raises(PlanError, match="rule 'contribution', threshold: .* got 'x'"):
        make_rule("contribution", {"threshold": "x"})
    with pytest.raises(PlanError, match="threshold is a cosine similarity; got 2.0"):
        Contribution(2.0)
    with pytest.raises(PlanError, match="threshold is a length; got -1.0"):
        VisiPruner(-1.0)

"""Stage 1: teach the vision tower to say, at every visual token, what is drawn there, in the words of the decoder.

Colour, shape, character, row and column are predicted by comparing the token with the decoder's (fixed) word
embeddings, so that afterwards the decoder finds words it knows at the places of the picture.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_samples.making.generator.content import CHARACTERS, COLORS, COLUMNS, ROWS, SHAPES
from data_samples.making.generator.drawing import SIZE, Placement, draw
from data_samples.making.training.config import difficulty
from data_samples.making.training.families import image_features
from data_samples.making.training.learner import Learner
from data_samples.making.training.packing import Tally
from data_samples.making.training.samples import step_rng, training_scenes

DRAWN = {"color": COLORS, "shape": SHAPES, "character": tuple(CHARACTERS.lower())}
PLACES = {"row": ROWS, "column": COLUMNS}
EMPTY_WEIGHT = 0.15  # most tokens show background: it must not drown the rest
PLACE_WEIGHT = 0.3
FEATURE_SIZE = 0.3  # root mean square of a visual token after this stage, a little above that of a word


def token_words(placements: tuple[Placement, ...], grid: int) -> dict[str, Tensor]:
    """Index of the word at each visual token, row by row, (grid^2,); in DRAWN kinds 0 is nothing, words from 1 on."""
    pitch = SIZE / grid
    centres = (torch.arange(grid) + 0.5) * pitch
    third = (centres * 3 / SIZE).long()
    labels = {name: torch.zeros(grid, grid, dtype=torch.long) for name in DRAWN}
    for x, y, half, shown in placements:
        reach = max(half, pitch / 2)
        inside = ((centres - y).abs() < reach)[:, None] & ((centres - x).abs() < reach)[None]  # (grid, grid)
        for name, words in DRAWN.items():
            for word in shown:
                if word in words:
                    labels[name][inside] = 1 + words.index(word)
    labels |= {"row": third[:, None].expand(grid, grid), "column": third[None].expand(grid, grid)}
    return {name: label.flatten() for name, label in labels.items()}


class WordHeads(nn.Module):
    """Scores of the words of each kind: similarity with their embeddings, and a free score for "nothing"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.nothing = nn.Linear(width, len(DRAWN))
        self.sharpness = nn.Parameter(torch.ones(len(DRAWN) + len(PLACES)))

    def forward(self, features: Tensor, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """features (N, D), embeddings name -> (words, D); returns name -> (N, words), one more column for DRAWN."""
        nothing = self.nothing(features)  # (N, len(DRAWN))
        scores = {}
        for k, (name, words) in enumerate(embeddings.items()):
            similarity = features @ words.T * self.sharpness[k]  # (N, words)
            scores[name] = torch.cat([nothing[:, k : k + 1], similarity], 1) if name in DRAWN else similarity
        return scores


class Alignment:
    """The stage: only the vision parts and the word heads are trained."""

    name = "align"

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.settings = learner.settings.values["align"]
        self.grids = learner.family.grids(learner.settings.values)
        parts = learner.family.vision_parts(learner.model)
        torch.manual_seed(learner.settings.values["seed"])
        self.embeddings = {name: learner.words(words) for name, words in (DRAWN | PLACES).items()}
        width = self.embeddings["row"].shape[1]
        self.modules = nn.ModuleDict({"vision": nn.ModuleList(parts[:-1]), "heads": WordHeads(width)})
        self.last_linear: Any = parts[-1]

    def rate_scale(self, parameter: str) -> float:
        return 1.0

    def loss(self, step: int) -> tuple[Tensor, Tally]:
        rng = step_rng(self.learner.settings.values["seed"], self.name, step)
        scenes = training_scenes(rng, difficulty(self.settings["scenes"]), self.settings["batch"])
        pictures = [draw(scene, rng) for scene in scenes]
        features = image_features(self.learner.model, self.learner.process([p.image for p in pictures]))
        total = features.new_zeros(())
        tally: Tally = {}
        for tokens in self.grids:  # coarse ones first
            truth = [token_words(picture.placements, math.isqrt(len(tokens))) for picture in pictures]
            reads = tokens is self.grids[-1]
            total = total + self._grid_loss(features[:, tokens].flatten(0, 1), truth, reads, tally) / len(self.grids)
        return total, tally

    def _grid_loss(self, features: Tensor, truth: list[dict[str, Tensor]], reads: bool, tally: Tally) -> Tensor:
        """Loss of the tokens of one grid, (B * side^2, D); the tally is of the last grid, the finest.

        Args:
            reads: whether its tokens are fine enough for single characters.
        """
        total = features.new_zeros(())
        for name, scores in self.modules["heads"](features, self.embeddings).items():
            if name == "character" and not reads:
                continue
            labels = torch.cat([labels[name] for labels in truth])  # (B * side^2,)
            shown = labels > 0 if name in DRAWN else torch.ones_like(labels, dtype=torch.bool)
            weight = torch.where(shown, 1.0, EMPTY_WEIGHT)
            losses = F.cross_entropy(scores, labels, reduction="none")
            total = total + (losses * weight).sum() / weight.sum() * (1 if name in DRAWN else PLACE_WEIGHT)
            right = (scores.argmax(-1) == labels)[shown]
            tally[name] = (int(right.sum()), len(right))
        return total

    @torch.no_grad()
    def rescale(self, target: float = FEATURE_SIZE) -> None:
        """Give visual tokens about the size of words, whatever size the similarities made them grow to.

        Args:
            target: the root mean square that they get.
        """
        rng = step_rng(self.learner.settings.values["seed"], self.name, self.settings["steps"])
        scenes = training_scenes(rng, difficulty(self.settings["scenes"]), self.settings["batch"])
        images = self.learner.process([draw(scene, rng).image for scene in scenes])
        size = image_features(self.learner.model, images).pow(2).mean().sqrt()
        self.last_linear.weight.mul_(target / size)
        self.last_linear.bias.mul_(target / size)

"""Whose images a question may be asked about."""

from pathlib import Path

import pytest
import torch

from halfv_core.models import load_model
from probe import load_samples
from probe.analysis import partners
from probe.analysis.partners import inputs_over, partners_of, same_places
from probe.calibration.steps.step import ProbedModel
from probe.data.samples import Sample
from tests.pictures import noise


def sample(name: str, question: str = "w", family: str | None = None, images: int = 1) -> Sample:
    paths = tuple(Path(f"{name}-{index}.png") for index in range(images))
    return Sample(id=name, images=paths, question=question, family=family)


def names(samples: list[Sample], of: str) -> str:
    return "".join(one.id for one in partners_of(samples)[of])


def test_the_same_question_comes_first_then_its_family_then_the_next() -> None:
    samples = [
        sample("a", "what", "x"), sample("b", "how", "y"), sample("c", "who", "x"), sample("d", "what", "z"),
        sample("e", "how", "x"),
    ]  # fmt: skip
    assert names(samples, "a") == "dceb"
    assert names(samples, "b") == "ecda"
    assert names(samples, "e") == "bacd"  # behind the last sample comes the first


def test_a_partner_has_as_many_images_and_others() -> None:
    samples = [sample("a"), sample("b", images=2), sample("c"), sample("d", images=2)]
    samples.append(samples[0].model_copy(update={"id": "e"}))
    assert (names(samples, "a"), names(samples, "b"), names(samples, "e")) == ("c", "d", "c")
    assert partners_of([sample("a")]) == {"a": ()}


def test_few_are_kept_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [sample(str(index)) for index in range(30)]
    assert [one.id for one in partners_of(samples)["28"]] == ["29", "0", "1", "2", "3", "4", "5", "6"]
    monkeypatch.setattr(partners, "CONSIDERED", 3)
    assert [one.id for one in partners_of(samples)["28"]] == ["29", "0", "1"]


def test_places_are_the_same_if_only_pixels_differ() -> None:
    inputs = {"input_ids": torch.tensor([[1, 9, 9]]), "pixel_values": torch.zeros(1, 3), "grid": torch.tensor([[1, 2]])}
    assert same_places(inputs, inputs | {"pixel_values": torch.ones(1, 3)})
    assert not same_places(inputs, inputs | {"grid": torch.tensor([[2, 1]])})
    assert not same_places(inputs, inputs | {"input_ids": torch.tensor([[1, 9, 9, 9]])})
    assert not same_places(inputs, {name: inputs[name] for name in ("input_ids", "pixel_values")})


def test_images_of_another_grid_and_unreadable_ones_are_passed_over(tmp_path: Path) -> None:
    """Two images of 4 by 2 patches, one of 2 by 4 with as many tokens, and no image at all."""
    loaded = load_model("tiny-qwen2.5-vl", device="cpu")
    for name, size in {"own": (112, 56), "fits": (112, 56), "turned": (56, 112), "small": (56, 56)}.items():
        noise(*size, 80, len(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    own, *others = (
        Sample(id=name, images=(tmp_path / f"{name}.png",), question="What is red?")
        for name in ("own", "broken", "turned", "small", "fits")
    )
    model = ProbedModel(loaded.model, loaded.processor)
    inputs = model.inputs(own)
    [found] = inputs_over(model, own, inputs, others)
    assert torch.equal(found["pixel_values"], model.inputs(others[-1])["pixel_values"])
    assert not torch.equal(found["pixel_values"], inputs["pixel_values"])


def test_the_scenes_have_partners() -> None:
    scenes = load_samples("scenes")[:40]
    found = partners_of(scenes)
    same = [any(other.prompt == one.prompt for other in found[one.id]) for one in scenes]
    assert all(len(others) == partners.PARTNERS for others in found.values())
    assert 0.2 < sum(same) / len(same)

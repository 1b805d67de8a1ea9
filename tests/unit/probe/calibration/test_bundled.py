"""The bundled models, whose trained weights show what random ones cannot: stages, safety, the effect of selection."""

import pytest

from data_samples.studies.results import PROFILES
from halfv_core import Keep, Plan, Profile
from halfv_core.models import LoadedModel, bundled_models, load_model
from probe import Settings, calibrate, load_samples
from probe.data.draw import draw
from probe.data.samples import Sample
from probe.evaluation.evaluate import evaluate

MODELS = ("tiny-llava", "tiny-llava-next", "tiny-qwen2.5-vl")


@pytest.fixture(scope="module", params=MODELS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return load_model(request.param, device="cpu")


@pytest.fixture(scope="module")
def profile(loaded: LoadedModel) -> Profile:
    return Profile.load(PROFILES / f"{loaded.name}.json")


@pytest.fixture(scope="module")
def held_out() -> list[Sample]:
    return draw(load_samples("scenes-heldout"), 42, seed=0)


@pytest.fixture(scope="module")
def full(loaded: LoadedModel, held_out: list[Sample]) -> float:
    return evaluate(loaded.model, loaded.processor, held_out, Plan(())).mean


def test_they_are_bundled_under_their_names() -> None:
    assert set(MODELS) == set(bundled_models())


def test_the_shipped_profile_is_in_order_and_its_plan_saves_work(profile: Profile) -> None:
    check_curves_and_stages(profile)
    freezing, few = profile.saturation.tests
    assert freezing.agreement >= 0.9 and freezing.agreement > few.agreement
    assert profile.pruning_tests[-1].safe
    assert profile.expected.flops_ratio > 1.3


def check_curves_and_stages(profile: Profile) -> None:
    visual, kl = profile.curves.visual.mean, profile.curves.kl.mean
    assert min(visual) < 0.8 * visual[0]
    assert max(kl[:4]) > 10 * max(kl[6:])
    assert kl[-1] == 0.0
    start = profile.stages.saturation_start
    assert start is not None
    assert 1 <= profile.stages.aggregation_start < start < profile.layers


@pytest.mark.parametrize(
    "settings",
    [
        # One wrong answer of a few is more than 3 %.
        Settings(samples=8, certify=0, examples=0, target_retention=0.9),
        pytest.param(Settings(samples=30, certify=0, examples=0), marks=pytest.mark.slow),
    ],
    ids=lambda settings: str(settings.samples),
)
def test_a_calibration_on_fewer_samples_finds_the_stages_of_the_shipped_profile(settings: Settings) -> None:
    loaded = load_model("tiny-qwen2.5-vl", device="cpu")
    found = calibrate(loaded.model, loaded.processor, load_samples("scenes"), settings)
    check_curves_and_stages(found)
    shipped = Profile.load(PROFILES / f"{loaded.name}.json")
    assert abs(found.stages.aggregation_start - shipped.stages.aggregation_start) <= 1
    assert found.pruning_tests[-1].safe
    assert found.expected.flops_ratio > 1.3


def test_the_plan_keeps_held_out_accuracy(
    loaded: LoadedModel, profile: Profile, held_out: list[Sample], full: float
) -> None:
    found = evaluate(loaded.model, loaded.processor, held_out, profile)
    assert found.mean >= 0.9 * full  # on 300 samples 0.95 to 0.98 (docs/results.md); one of 42 is 2 %
    assert found.flops_ratio == pytest.approx(profile.expected.flops_ratio, rel=0.02)


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS[:2]]


@pytest.mark.parametrize("loaded", [*SLOWLY, MODELS[2]], indirect=True)
def test_coverage_beats_a_random_draw_where_it_does(loaded: LoadedModel, held_out: list[Sample], full: float) -> None:
    """Clearly on the Qwen model; on the others a random draw is as good at this layer and ratio (docs/results.md)."""
    by_rule = {
        rule: evaluate(
            loaded.model, loaded.processor, held_out, Plan((Keep(layer=2, keep_ratio=0.25, selector=rule),))
        ).mean
        for rule in ("anchor_coverage", "random")
    }
    assert by_rule["anchor_coverage"] >= by_rule["random"] + (0.05 if "qwen" in loaded.name else -0.03)
    assert by_rule["anchor_coverage"] >= 0.85 * full


def test_without_visual_tokens_it_knows_little(loaded: LoadedModel, held_out: list[Sample], full: float) -> None:
    blind = evaluate(loaded.model, loaded.processor, held_out, Plan((Keep(layer=1, keep_ratio=0.0),)))
    assert blind.mean < 0.6 * full

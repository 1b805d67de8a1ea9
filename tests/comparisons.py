"""Comparisons of methods without a model, for tests of what reads them."""

from halfv_core.plan import Keep, Plan
from probe.evaluation.methods import MethodComparison, Refusal, Row
from probe.evaluation.methods.records import Candidate, Question, TunedOn

BUDGETS = (2.0, 3.0, 4.0)


def comparison(methods: int = 3, model_id: str = "tiny-llava", text: str = "") -> MethodComparison:
    """A comparison of so many methods besides the controls, with the project's own plan beaten by some of them.

    Args:
        text: put into everything that comes from the user, from data or from a model.
    """
    rows = [_row("full", None, 1.0, 1.0), _row("profile", None, 2.5, 0.97)]
    for number, name in enumerate(("random", "uniform", *(f"method-{index}" for index in range(methods)))):
        rows += [
            _row(name, budget, budget + 0.01 * number, 1 - 0.03 * (budget - 1) * (1 + (7 - 3 * number) % 11 / 4))
            for budget in BUDGETS
        ]
    refused = (
        Refusal(method="vtw", title="VTW", budget=None, reason=f"needs a withdrawal curve {text}"),
        Refusal(method="uniform", title="uniform", budget=30.0, reason="cannot be set to this budget"),
    )
    question = Question(
        id=f"s0{text}",
        family="counting",
        references=(f"two{text}",),
        grading="exact",
        answers=tuple(f"two{text}" for _ in rows),
        grades=tuple(1.0 for _ in rows),
    )
    return MethodComparison(
        model_id=f"{model_id}{text}",
        model_type="llava",
        profile=f"profile.json{text}",
        data=f"scenes-heldout{text}",
        calibrated_on=0,
        resumed=0,
        data_fingerprint="0" * 64,
        seed=0,
        arguments_given={"model": model_id, "flops": "2,3,4", "data": f"scenes-heldout{text}"},
        versions={"python": "3.11.7", "torch": "2.13.0"},
        machine="x86_64, 1 threads",
        device="cpu",
        dtype="float32",
        created="2026-11-26T07:00:00+00:00",
        seconds=100.0,
        budgets=BUDGETS,
        visual_tokens=196,
        text_tokens=12,
        batch=10,
        rows=tuple(rows),
        refused=refused,
        samples=1,
        questions=(question,),
    )


def tuned(methods: int = 1, text: str = "") -> MethodComparison:
    """The same after tuning: of the first method at 2x, `layer 4` is best, and the last setting failed."""
    found = comparison(methods, text=text)
    on = TunedOn(
        data=f"scenes{text}",
        data_fingerprint="1" * 64,
        samples=100,
        sample_ids=("c0", "c1"),
        seed=0,
        accuracy=0.9,
        runs=300,
    )
    scores = (("", 0.81, None), (f"layer 4{text}", 0.85, None), ("layer 9", None, f"sample 'c0': no layer 9{text}"))

    def settings(plan: Plan) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(setting=name, plan=plan, accuracy=score, log_likelihood=score and -score, failure=failure)
            for name, score, failure in scores
        )

    rows = tuple(
        row.model_copy(update={"setting": f"layer 4{text}", "candidates": settings(row.plan)})
        if row.label == "method-0 2x"
        else row
        for row in found.rows
    )
    return found.model_copy(update={"rows": rows, "tuned_on": on})


def _row(method: str, budget: float | None, flops: float, kept: float) -> Row:
    plan = Plan(()) if method == "full" else Plan((Keep(layer=2, keep_ratio=0.9 / flops, selector="attention"),))
    return Row(
        method=method,
        title=method,
        is_control=method in ("random", "uniform"),
        budget=budget,
        plan=plan,
        by_family={"counting": 0.8 * kept, "where": kept},
        accuracy=0.9 * kept,
        retention=kept,
        retention_interval=(kept - 0.02, kept + 0.03),
        agreement=kept,
        visual_flops_ratio=1.1 * flops,
        flops_ratio=flops,
        model_flops_ratio=0.5 + 0.5 * flops,
        kv_ratio=0.9 * flops,
        prefill_seconds=0.03 / flops,
        prefill_ratio=0.8 * flops,
        selection_share=0.0 if method == "full" else 0.05,
    )

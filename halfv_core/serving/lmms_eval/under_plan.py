"""What turns a model of lmms-eval into one under a plan, without lmms-eval itself."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from traceback import print_exception
from typing import Any

from halfv_core.cost import Cost
from halfv_core.errors import HalfVError, UnsupportedError
from halfv_core.failures import failure_of, reason_of
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from halfv_core.runtime import apply
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from halfv_core.wrappers import plain_model


class UnderPlan:
    """Mixed into a class of lmms-eval: its transformers model runs under a plan until lmms-eval is done with it."""

    model: Any
    """What the class calls to answer."""
    _block: ExitStack
    _cost: Cost | None = None

    def enter(self, plan: Profile | Plan) -> None:
        """Apply the plan, after the model has been loaded.

        Raises:
            HalfVError: there is no transformers model, or the plan cannot be applied to it.
        """
        model = plain_model(getattr(self, "model", None))
        self._block = ExitStack()
        run = self._block.enter_context(apply(model, plan))

        def around(generate: Forward) -> Forward:
            @wraps(generate)
            def answer(*args: Any, **kwargs: Any) -> Any:
                with failures_end_the_process():
                    ids = generate(*args, **kwargs)
                    self._cost = run.cost if self._cost is None else self._cost + run.cost
                return ids

            return answer

        self._block.enter_context(wrapped([Wrap(model, "generate", around)], plan=False, over_plan=True))

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        """Refused: it puts the answer that is to be scored behind the prompt, whose last token would choose."""
        with failures_end_the_process():
            raise UnsupportedError(
                "given answers cannot be scored under a plan: the prompt's last token chooses visual tokens",
                got="a task of output_type loglikelihood",
                expected="generate_until",
            )

    def clean(self) -> None:
        """Undo the plan and give the model up, as lmms-eval asks for when all answers are there."""
        self._block.close()
        if self._cost is not None:
            _log({"flops_ratio": self._cost.flops_ratio, "kv_ratio": self._cost.kv_ratio})
        super().clean()  # type: ignore[misc]  # of the class that this is mixed into


@contextmanager
def failures_end_the_process() -> Iterator[None]:
    """End the process with status 1 and one line if anything fails.

    lmms-eval's models take a failed answer for an empty one, which scores 0, and its command reports a failed run with
    status 0. Both catch `Exception`, which SystemExit is not.
    """
    try:
        yield
    except Exception as error:
        known = failure_of(error)
        if known is None:  # a fault of this project
            print_exception(error)
        raise SystemExit(f"halfv: {known or reason_of(error)}") from error


def chosen_plan(arguments: dict[str, Any]) -> Profile | Plan:
    """The plan that `profile=FILE` or `plan=FILE` names; both are taken out of the arguments.

    Raises:
        HalfVError: neither or both are given, or the file cannot be read.
    """
    readers: dict[str, Callable[[str], Profile | Plan]] = {"profile": Profile.load, "plan": Plan.load}
    given = {name: str(arguments.pop(name)) for name in readers if name in arguments}
    if len(given) != 1:
        raise HalfVError(
            "a model under a plan needs one plan",
            got=" and ".join(given) or "none",
            expected="profile=FILE, made by `halfv-probe calibrate`, or plan=FILE in --model_args",
            remedy="for the full model, name lmms-eval's own after --model",
        )
    [(name, place)] = given.items()
    return readers[name](place)


def _log(numbers: dict[str, float]) -> None:
    """Put numbers into lmms-eval's results, under `throughput`."""
    from lmms_eval.models.model_utils.gen_metrics import log_metrics

    log_metrics(total_elapsed_time=0.0, total_gen_tokens=0, avg_speed=0.0, additional_metrics=numbers)

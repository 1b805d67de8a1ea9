"""The classes behind `--model halfv`, which build the one that `base` names."""

from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.models import get_model, list_available_models
from lmms_eval.tasks import TaskManager
from lmms_eval.utils import simple_parse_args_string

from halfv_core.errors import HalfVError
from halfv_core.failures import failure_of, reason_of
from halfv_core.serving.lmms_eval import MODEL
from halfv_core.serving.lmms_eval.under_plan import UnderPlan, chosen_plan, failures_end_the_process


class HalfV(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """Builds lmms-eval's own model, so that prompts, images and settings are those of the full model."""

    is_simple = False

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> lmms:
        """The model of another name, under a plan.

        Args:
            arg_string: `base=NAME`, `profile=FILE` or `plan=FILE`, and the arguments of that model.
            additional_config: what lmms-eval adds to them, such as the batch size and the device.

        Raises:
            SystemExit: the model or the plan cannot be had, in one line.
        """
        with failures_end_the_process():
            arguments = simple_parse_args_string(arg_string)
            base = _checked_base(arguments.pop("base", None))
            plan = chosen_plan(arguments)
            added = {name: value for name, value in (additional_config or {}).items() if value is not None}
            model = _built(base, arguments | added, force_simple=cls.is_simple)
            model.enter(plan)
            _ask_as(base)
            return model


class SimpleHalfV(HalfV):
    """The same under `--force_simple`."""

    is_simple = True


def _checked_base(name: object) -> str:
    """The name of a model of lmms-eval.

    Raises:
        HalfVError: it is none.
    """
    if name == MODEL or name not in list_available_models(include_aliases=True):
        raise HalfVError(
            "unknown base in --model_args",
            got=name,
            expected="a model of lmms-eval, as in base=qwen2_5_vl",
            remedy="see `lmms-eval models`",
        )
    return str(name)


def _built(base: str, arguments: dict[str, Any], force_simple: bool) -> Any:
    """An instance of lmms-eval's class with `UnderPlan` mixed in.

    Raises:
        HalfVError: the class cannot be imported, or does not take the arguments.
    """
    try:
        kind = get_model(base, force_simple)
        mixed = type(f"{kind.__name__}UnderPlan", (UnderPlan, kind), {"__module__": kind.__module__})
        return mixed(**arguments)
    except Exception as error:
        raise failure_of(error) or HalfVError(
            f"lmms-eval cannot build its model {base} ({reason_of(error)})",
            remedy="see which packages and which --model_args it needs",
        ) from error


def _ask_as(base: str) -> None:
    """Let tasks ask as they ask the base: some have questions or settings for single models, by the name of --model."""

    def name(manager: TaskManager) -> str | None:
        given: str | None = vars(manager)["model_name"]
        return base if given == MODEL else given

    TaskManager.model_name = property(name, lambda manager, given: vars(manager).update(model_name=given))

"""`halfv-probe serve`: an OpenAI-compatible server that answers under a profile's plan.

halfv-probe serve qwen2.5-vl-7b --profile profile.json
halfv-probe serve qwen2.5-vl-7b --profile profile.json --target-flops 4 --host 0.0.0.0 --port 8000
"""

import json
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.common import stderr
from cli.data_options import FRAMES, FramesOption
from cli.model_options import LoadingOptions

if TYPE_CHECKING:
    from pydantic import JsonValue

    from halfv_core import Plan, Profile
    from probe.serving.prepare import RequestOptions


@dataclass(frozen=True)
class AnsweringOptions:
    """How requests are read and answered; most of it as in `transformers serve`."""

    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Download images and videos that requests name by public addresses.")
    ] = False
    frames: FramesOption = FRAMES
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile decoding at start, with a cache of a fixed length.")
    ] = False
    reasoning: Annotated[
        Literal["auto", "on", "off"],
        typer.Option("--reasoning", help="Sets enable_thinking of the chat template, where it reads that."),
    ] = "auto"
    chat_template_kwargs: Annotated[
        str | None,
        typer.Option("--chat-template-kwargs", help="JSON object of what else the chat template reads."),
    ] = None
    default_seed: Annotated[
        int | None,
        typer.Option("--default-seed", min=0, max=2**63 - 1, help="Seed for what is sampled without one."),
    ] = None
    continuous_batching: Annotated[bool, typer.Option("--continuous-batching", hidden=True)] = False

    def read(self) -> "RequestOptions":
        """The same for the server.

        Raises:
            UnsupportedError: continuous batching.
            HalfVError: the values for the chat template are no JSON object.
        """
        if self.continuous_batching:
            from halfv_core.errors import UnsupportedError

            raise UnsupportedError(
                "continuous batching has a cache of its own, and takes no images", remedy="leave it out"
            )
        from probe.serving.prepare import RequestOptions

        return RequestOptions(self.allow_urls, self.frames, self._template_values(), self.compile)

    def _template_values(self) -> "dict[str, JsonValue]":
        from halfv_core import HalfVError

        try:
            values = json.loads("{}" if self.chat_template_kwargs is None else self.chat_template_kwargs)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise HalfVError(
                "--chat-template-kwargs is no JSON object",
                got=self.chat_template_kwargs,
                expected='as {"enable_thinking": false}',
            )
        return values if self.reasoning == "auto" else values | {"enable_thinking": self.reasoning == "on"}


def serve(
    *,
    model: Annotated[str, typer.Argument(help="Name (see `halfv-probe models`), folder, or hub id.")],
    profile: Annotated[Path | None, typer.Option(help="Answer under this profile's plan. [default: no plan]")] = None,
    target_flops: Annotated[
        float | None,
        typer.Option(help="Of the profile's judged plans, take the best with so many times fewer FLOPs."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any that is free.")] = 8000,
    max_requests: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests that wait or are answered; more get status 429.")
    ] = 100,
    grace: Annotated[int, typer.Option(min=0, max=86_400, help="Seconds to finish answers in when stopped.")] = 30,
    enable_cors: Annotated[bool, typer.Option("--enable-cors", help="Let pages of any origin ask.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not print a line for each request.")] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        typer.Option("--log-level", help="Which messages of transformers are shown."),
    ] = "error",
    answering: AnsweringOptions,
    loading: LoadingOptions,
) -> None:
    """Serve a model under a plan over HTTP, with OpenAI's chat completions and responses."""
    _check_installed()
    requests = answering.read()
    loading.check(model)
    plan = _plan(profile, target_flops)
    import torch
    from transformers.utils import logging

    from probe.serving.server import ServerOptions, bound
    from probe.serving.server import serve as run

    options = ServerOptions(requests, max_requests, grace, enable_cors, log_requests=not quiet)
    with closing(bound(host, port)) as sock:
        loaded = loading.load(model)
        logging.set_verbosity(logging.log_levels[log_level])
        if answering.default_seed is not None:
            torch.manual_seed(answering.default_seed)
        run(loaded, plan, sock, options, _say)


def _plan(profile: Path | None, target_flops: float | None) -> "Profile | Plan":
    """The profile, with the plan that it is to be served under.

    Raises:
        HalfVError: no profile that can be read, or none of its plans saves so much.
    """
    from halfv_core import HalfVError, Plan, Profile

    if profile is None:
        if target_flops is not None:
            raise HalfVError("--target-flops chooses among a profile's plans", remedy="add --profile profile.json")
        return Plan(())
    loaded = Profile.load(profile)
    if target_flops is None:
        return loaded
    best = loaded.best_at(target_flops)
    if best is None:
        most = max((test.flops_ratio for test in loaded.pruning_tests if not test.compared_only), default=1.0)
        raise HalfVError(
            f"no plan in {profile} was judged that saves so much",
            got=f"--target-flops {target_flops:g}",
            expected=f"at most {most:.2f}",
            remedy="calibrate with --target-flops, or ask for less",
        )
    return loaded.model_copy(update={"plan": best.plan})


def _check_installed() -> None:
    """Raise HalfVError unless the packages of the extra `serve` are there."""
    from importlib.util import find_spec

    from transformers.utils.import_utils import is_serve_available

    if not (is_serve_available() and find_spec("transformers.cli.serving")):
        from halfv_core.errors import HalfVError

        raise HalfVError(
            "the packages for serving are not installed",
            remedy="pip install 'transformers[serving]>=5.23'",
        )


def _say(line: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        stderr.print(f"halfv-probe: {line}")

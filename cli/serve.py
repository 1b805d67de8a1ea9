"""`halfv-probe serve`: an OpenAI-compatible server that answers under a profile's plan.

halfv-probe serve qwen2.5-vl-7b --profile profile.json
halfv-probe serve qwen2.5-vl-7b --profile profile.json --target-flops 4 --host 0.0.0.0 --port 8000
"""

from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import stderr
from cli.model_options import LoadingOptions

if TYPE_CHECKING:
    from halfv_core import Plan, Profile


@dataclass(frozen=True)
class RefusedOptions:
    """Options of `transformers serve` that this server does not have."""

    compile: Annotated[bool, typer.Option("--compile", hidden=True)] = False
    continuous_batching: Annotated[bool, typer.Option("--continuous-batching", hidden=True)] = False

    def check(self) -> None:
        """Raise UnsupportedError if one of them is given."""
        from halfv_core.errors import UnsupportedError

        if self.compile:
            raise UnsupportedError(
                "this server has not been tried with --compile",
                remedy="leave it out",
            )
        if self.continuous_batching:
            raise UnsupportedError(
                "continuous batching has a cache of its own, and takes no images", remedy="leave it out"
            )


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
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Download images that requests name by public addresses.")
    ] = False,
    max_requests: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests that wait or are answered; more get status 429.")
    ] = 100,
    grace: Annotated[int, typer.Option(min=0, max=86_400, help="Seconds to finish answers in when stopped.")] = 30,
    enable_cors: Annotated[bool, typer.Option("--enable-cors", help="Let pages of any origin ask.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not print a line for each request.")] = False,
    loading: LoadingOptions,
    refused: RefusedOptions,
) -> None:
    """Serve a model under a plan over HTTP, with OpenAI's chat completions and responses."""
    refused.check()
    loading.check(model)
    plan = _plan(profile, target_flops)
    _check_installed()
    from probe.serving.server import ServerOptions, bound
    from probe.serving.server import serve as run

    options = ServerOptions(allow_urls, max_requests, grace, enable_cors, log_requests=not quiet)
    with closing(bound(host, port)) as sock:
        run(loading.load(model), plan, sock, options, _say)


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

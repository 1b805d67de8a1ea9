"""What a vLLM worker is about to run, read off its model runner."""

from typing import Any

import torch

from halfv_core.serving.vllm.requests import Request, Step, visual_tokens


class Steps:
    """The steps of one worker."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._prunable: dict[str, torch.Tensor] = {}  # by request, for all of its steps

    def __call__(self) -> Step | None:
        """The step whose forward pass is under way; None if it is none of requests, but one that tries the memory."""
        from vllm.forward_context import get_forward_context

        batch, known = self._runner.input_batch, self._runner.requests
        if not get_forward_context().attn_metadata or not batch.num_reqs:
            return None
        for name in [name for name in self._prunable if name not in known]:
            del self._prunable[name]
        starts = self._runner.query_start_loc.np[: batch.num_reqs + 1].tolist()
        requests = [
            Request(
                name=name,
                row=row,
                computed=int(batch.num_computed_tokens_cpu[row]),
                scheduled=starts[row + 1] - starts[row],
                prompt=known[name].num_prompt_tokens,
                visual=self._visual_of(known[name]),
            )
            for row, name in enumerate(batch.req_ids)
        ]
        return Step(requests, known)

    def _visual_of(self, request: Any) -> torch.Tensor:
        """(V,) indices of the request's visual tokens that may be pruned."""
        if request.req_id not in self._prunable:
            self._prunable[request.req_id] = visual_tokens(request.mm_features, request.num_prompt_tokens)
        return self._prunable[request.req_id]

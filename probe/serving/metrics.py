"""What requests cost and what the plan saved: counters in Prometheus' text format, and one line for each request."""

from collections import Counter
from dataclasses import dataclass
from threading import Lock

from halfv_core.cost import Cost
from halfv_core.errors import printable


@dataclass(frozen=True)
class Saved:
    """What became of the tokens of one answered request, and what that cost."""

    prompt_tokens: int
    visual_tokens: int
    kept_tokens: int
    """Visual tokens that are still there after the last layer that drops some."""
    new_tokens: int
    cost: Cost

    def __str__(self) -> str:
        return (
            f"{self.prompt_tokens} tokens ({self.visual_tokens} visual, {self.kept_tokens} kept), "
            f"{self.new_tokens} generated, {self.cost.flops_ratio:.2f}x fewer FLOPs in the prefill, "
            f"KV cache {self.cost.kv_ratio:.2f}x smaller"
        )


HELP = {
    "halfv_requests_total": "Requests, by path and HTTP status.",
    "halfv_request_seconds_sum": "Seconds from a request to the end of its answer.",
    "halfv_request_seconds_count": "Requests whose time is in the sum.",
    "halfv_answers_total": "Answers that were generated to their end.",
    "halfv_prompt_tokens_total": "Tokens of prompts, visual ones included.",
    "halfv_visual_tokens_total": "Visual tokens of prompts.",
    "halfv_visual_tokens_kept_total": "Visual tokens that were still there after the last layer that drops some.",
    "halfv_generated_tokens_total": "Tokens of answers.",
    "halfv_flops_total": "FLOPs of the decoder, of prompts and answers.",
    "halfv_flops_without_plan_total": "FLOPs that the full model would have needed.",
    "halfv_kv_bytes_total": "Bytes of the KV caches at the ends of answers.",
    "halfv_kv_bytes_without_plan_total": "Bytes that the full model's caches would have had.",
}
"""Counter -> what it counts."""


class Metrics:
    """Counters since the server began; safe to use from several threads."""

    def __init__(self, model: str, plan: str) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()  # by name and labels
        self._info = f'{{model="{_label(model)}",plan="{_label(plan)}"}}'
        self.in_progress = 0
        """Requests that wait or are being answered."""

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has been answered, or refused."""
        with self._lock:
            self._counts["halfv_requests_total", f'{{path="{path}",status="{status}"}}'] += 1
            self._add(halfv_request_seconds_sum=seconds, halfv_request_seconds_count=1)

    def add_saved(self, saved: Saved) -> None:
        """Count an answer."""
        with self._lock:
            self._add(
                halfv_answers_total=1,
                halfv_prompt_tokens_total=saved.prompt_tokens,
                halfv_visual_tokens_total=saved.visual_tokens,
                halfv_visual_tokens_kept_total=saved.kept_tokens,
                halfv_generated_tokens_total=saved.new_tokens,
                halfv_flops_total=saved.cost.prefill_flops + saved.cost.decode_flops,
                halfv_flops_without_plan_total=saved.cost.prefill_flops_full + saved.cost.decode_flops_full,
                halfv_kv_bytes_total=saved.cost.kv_bytes,
                halfv_kv_bytes_without_plan_total=saved.cost.kv_bytes_full,
            )

    def _add(self, **counts: float) -> None:
        for name, count in counts.items():
            self._counts[name, ""] += count  # type: ignore[assignment] # seconds are no whole number

    def text(self) -> str:
        """All counters, as Prometheus reads them."""
        with self._lock:
            counts = dict(self._counts)
        lines = ["# HELP halfv_info The model and the plan that are served.", "# TYPE halfv_info gauge"]
        lines.append(f"halfv_info{self._info} 1")
        lines += ["# HELP halfv_requests_in_progress Requests that wait or are being answered."]
        lines += ["# TYPE halfv_requests_in_progress gauge", f"halfv_requests_in_progress {self.in_progress}"]
        for name, meaning in HELP.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} counter"]
            found = {labels: count for (counter, labels), count in counts.items() if counter == name}
            if name == "halfv_requests_total":
                lines += [f"{name}{labels} {count}" for labels, count in sorted(found.items())]
            else:
                lines.append(f"{name} {found.get('', 0)}")
        return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")

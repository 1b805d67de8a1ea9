"""One request's call of `generate()`: what it saved, why it failed, and how it is stopped."""

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Event
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria
from transformers.cli.serving.utils import _GenerationCancelled

from halfv_core import Run
from probe.serving.failures import Failure, Refusal
from probe.serving.metrics import Saved
from probe.serving.prepare import Prepared


class Generation:
    """Takes the place of the model where transformers' handlers call it.

    Calls come from transformers' one thread for inference, so that what the run says afterwards is about this request.

    Args:
        model: what answers.
        run: the plan that is applied to it.
        prepared: the request.
        stop: set when the server ends and does not wait any longer.
    """

    def __init__(self, model: PreTrainedModel, run: Run, prepared: Prepared, stop: Event) -> None:
        self.prepared = prepared
        self.config = model.config if prepared.tools else PreTrainedConfig()
        """By its type the handlers know how an answer calls tools. Without tools it is of no type, so that they leave
        the answer's text as it is, unless its tokenizer says how to parse it: what they know of a type need not fit the
        checkpoint's template."""
        self.failure: Exception | None = None
        """What was raised; also where transformers passes on its text alone."""
        self.saved: Saved | None = None
        """Set when the answer is complete."""
        self.finished: Future[None] = Future()
        """Done after either of them is set."""
        self.gone = Event()
        """To be set when the client does not wait any longer."""
        self._model: Any = model
        self._run = run
        self._stop = stop

    def generate(self, **arguments: Any) -> torch.Tensor:
        """As the model's; (1, N + n) token ids of the prompt and the answer."""
        try:
            self._check()
            seed = self.prepared.seed
            with torch.random.fork_rng(enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                ids: torch.Tensor = self._model.generate(
                    **arguments, stopping_criteria=[_Until(self, arguments["tokenizer"])]
                )
            self._check()
            self.saved = self._savings(ids)
            return ids
        except _GenerationCancelled:
            raise
        except Exception as error:
            self.failure = error
            # Else a static cache for which memory was short would be the shortest of all later ones.
            self._model._previous_max_cache_length = -1
            raise RuntimeError(self.quoted_failure()) from error
        finally:
            self.finish()

    def finish(self) -> None:
        """Say that there is nothing to wait for; also where the model was never called."""
        with suppress(InvalidStateError):
            self.finished.set_result(None)

    def quoted_failure(self) -> str:
        """Why there is no answer, without characters that end a JSON string: transformers writes it into one."""
        return "" if self.failure is None else Failure.of(self.failure).line.replace("\\", "/").replace('"', "'")

    @property
    def is_stopped(self) -> bool:
        """Whether nobody waits for the answer any longer."""
        return self._stop.is_set() or self.gone.is_set()

    def _check(self) -> None:
        if self.gone.is_set():
            raise Refusal(499, "the client did not wait for the answer")
        if self._stop.is_set():
            raise Refusal(503, "the server is stopping")

    def _savings(self, ids: torch.Tensor) -> Saved:
        length, visual = self.prepared.inputs["input_ids"].shape[1], self.prepared.visual_tokens
        kept = min((len(rows[0]) for rows in self._run.kept.values()), default=visual) if visual else 0
        return Saved(length, visual, kept, ids.shape[1] - length, self._run.cost)


class _Until(StoppingCriteria):
    """Ends an answer when nobody waits for it any longer, or after one of the request's stop texts.

    transformers' own criterion for texts cannot read every vocabulary.
    """

    def __init__(self, generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
        self._generation = generation
        self._tokenizer = tokenizer
        self._length = generation.prepared.inputs["input_ids"].shape[1]
        self._texts = generation.prepared.stop_texts
        self._tokens = 2 * max(map(len, self._texts), default=0) + 8  # in which a text that has just ended stands

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """(1,) whether the answer of the prompt and the new tokens, (1, N + n), ends here."""
        ends = self._generation.is_stopped
        if self._texts and not ends:
            said = str(self._tokenizer.decode(input_ids[0, self._length :][-self._tokens :]))
            ends = any(text in said for text in self._texts)
        return torch.full((len(input_ids),), ends, device=input_ids.device)

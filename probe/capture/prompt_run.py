"""PromptRun: the full model's run of one prompt, as probes look at it; what several of them need is computed once.

    run = PromptRun(model, inputs)
    run.states                          # (L+1, N, D)
    run.at_every_layer(lambda layer, prompt: prompt.attention(prompt.question[-1:], at="own"))

Nothing runs before it is asked for. What is kept grows with the prompt, never with the number of prompts.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, Parts, parts_of
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.prompt_view import PromptView
from probe.capture.grids import GridRecorder
from probe.capture.hidden_states import Capture, capture, final_normed
from probe.capture.layer_calls import LayerCalls
from probe.capture.layer_views import at_every_layer
from probe.capture.replay import Replay
from probe.capture.sublayers import SubLayerRecorder, SubLayers

T = TypeVar("T")
Recording = Literal["grids", "sublayers"]
"""Properties of a `PromptRun` that are recorded while the model runs."""


class PromptRun:
    """One prompt of N tokens, V of them visual, in a decoder of L layers with H heads.

    It is valid until the model runs another prompt, since some models remember the offset of positions.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Mapping[str, torch.Tensor],
        *,
        answer: Sequence[int] = (),
        words: Callable[[Sequence[int]], list[str]] = lambda ids: list(map(str, ids)),
        over_others: Callable[[], Iterable[Mapping[str, torch.Tensor]]] = lambda: (),
        family: Family | None = None,
    ) -> None:
        """Prepare the run.

        Args:
            inputs: model inputs, a batch of one without padding.
            answer: token ids of the full model's greedy answer, for probes that follow it.
            words: gives the text of each of some token ids, by default the id.
            over_others: gives the inputs of the same prompt over other images, with all tokens in the same places; one
                at a time, as they are asked for.

        Raises:
            ModelError: the model cannot be probed.
        """
        self.model = model
        self.inputs = inputs
        self.answer = tuple(answer)
        self.words = words
        self.over_others = over_others
        self.family = family
        self.parts: Parts = parts_of(model, family)
        self._recorded: dict[Recording, Any] = {}

    @cached_property
    def layout(self) -> TokenLayout:
        """Where the visual tokens are."""
        return TokenLayout.find(self.inputs["input_ids"], self.parts.visual_ids, self.inputs.get("attention_mask"))

    @cached_property
    def visual(self) -> torch.Tensor:
        """(N,) bool, True for visual tokens; on the CPU."""
        return self.layout.visual[0].cpu()

    @property
    def layers(self) -> int:
        """L."""
        return len(self.parts.layers)

    @cached_property
    def _raw(self) -> Capture:
        raw = capture(self.model, self.inputs, normed=False, family=self.family)
        _check_finite("hidden states", bool(raw.hidden.isfinite().all()))
        return raw

    @property
    def states(self) -> torch.Tensor:
        """(L+1, N, D) hidden states before the final norm; entry i is the input of layer i, entry L the last output.

        Raises:
            DataError: a value is NaN or infinite.
        """
        return self._raw.hidden

    @cached_property
    def normed(self) -> torch.Tensor:
        """(L+1, N, D) the same after the model's final norm."""
        return final_normed(self.model, self._raw, family=self.family).hidden

    @cached_property
    def replay(self) -> Replay:
        """For variants of the run that begin at a later layer."""
        return Replay(self.model, self.inputs, family=self.family)

    @property
    def sublayers(self) -> SubLayers:
        """What attention and MLP did to each token in each layer."""
        return self._recording("sublayers")  # type: ignore[no-any-return]

    @property
    def grids(self) -> tuple[torch.Tensor, ...] | None:
        """Of each image or tiling, (frames, height, width) indices into the V visual tokens; None if not known."""
        return self._recording("grids")  # type: ignore[no-any-return]

    def _recording(self, name: Recording) -> Any:
        if name not in self._recorded:
            self.at_every_layer(lambda *_: None, recording=[name])
        return self._recorded[name]

    @cached_property
    def calls(self) -> LayerCalls:
        """For variants of the run that differ in some tokens of some layers; see `run_variants`."""
        return LayerCalls.record(self.model, self.inputs, family=self.family)

    def at_every_layer(self, look: Callable[[int, PromptView], T], *, recording: Collection[Recording] = ()) -> list[T]:
        """Run the prompt once, and look at it at the input of each layer.

        Args:
            look: gets the layer and the prompt there; of the prompt it may read `hidden("own")`, and queries, keys,
                values and attention `at="own"`.
            recording: properties to record in this run, which otherwise take a run of their own when they are read.

        Returns:
            What `look` returned at each of the L layers.

        Raises:
            DataError: something that was looked at is NaN or infinite.
        """
        numbers = iter(range(self.layers))
        recorders = {name: self._recorder(name) for name in recording}
        finite: list[tuple[str, torch.Tensor]] = []

        def at_next(prompt: Any) -> T:
            seen = look(next(numbers), prompt)
            finite.extend(prompt.finite)
            return seen

        also = [wrap for recorder in recorders.values() for wrap in recorder.wraps()]
        found = at_every_layer(self.model, self.inputs, at_next, also=also, family=self.family)
        for what, is_finite in finite:  # not sooner: the device would run idle meanwhile
            _check_finite(what, bool(is_finite))
        self._recorded |= {name: recorder.result() for name, recorder in recorders.items()}
        return found

    def _recorder(self, name: Recording) -> GridRecorder | SubLayerRecorder:
        if name == "grids":
            return GridRecorder(self.model, self.inputs["input_ids"], self.family)
        return SubLayerRecorder(self.parts)


def _check_finite(what: str, is_finite: bool) -> None:
    if not is_finite:
        raise DataError(f"{what} are not finite", remedy="load the model in bfloat16 or float32")

"""Tools and switches of chat templates: what the model reads, what an answer calls, and what is refused.

The model says what the test wants, by a hook on its head; everything else is real.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from halfv_core import Keep, Plan
from halfv_core.errors import HalfVError
from halfv_core.models import LoadedModel, load_model
from tests.checkpoints import CHECKPOINTS
from tests.serving import chat, serving_here
from tests.tiny import EOS, tiny_model

openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")

from probe.serving.prepare import RequestOptions, prepare  # noqa: E402 - after what it needs
from probe.serving.requests import ChatRequest, ResponseRequest, parsed  # noqa: E402

FAMILY = "qwen2_5_vl"
PLAN = Plan([Keep(layer=1, keep_ratio=0.5)])
TEMPLATE = """{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- else %}{{ part.text }}{% endif %}{% endfor %}
{%- for call in message.tool_calls %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"""
LOOK = {
    "name": "look",
    "description": "looks closer",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}
TOOLS = [{"type": "function", "function": LOOK}]
CALL = '<tool_call>\n{"name": "look", "arguments": {"place": "left"}}\n</tool_call>'


def save(folder: Path) -> None:
    """A checkpoint whose tokens are letters, so that calls can be written with them."""
    special = {0: "?", EOS: "<|im_end|>", 2: "<|im_start|>", **CHECKPOINTS[FAMILY].special}
    letters = iter('abcdefghijklmnopqrstuvwxyz \n{}[]":,.<>/_|')
    names = {special.get(index) or next(letters, f"unused {index}"): index for index in range(64)}
    words = Tokenizer(WordLevel(names, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    words.decoder = decoders.Fuse()
    tiny_model(FAMILY).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="?",
        pad_token="?",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", *CHECKPOINTS[FAMILY].special.values()],
    )
    CHECKPOINTS[FAMILY].save(fast, TEMPLATE, folder)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("letters")
    save(folder)
    found = load_model(str(folder), device="cpu")
    found.model.generation_config.eos_token_id = EOS
    return found


@contextmanager
def saying(loaded: LoadedModel, text: str) -> Iterator[None]:
    """The model's answers are this text."""
    ids = [*loaded.processor.encode(text).tolist(), EOS]
    said = iter(ids)

    def hook(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(next(said, EOS)), logits.shape[-1]).float().expand_as(logits)

    handle = loaded.model.lm_head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def prompt_of(loaded: LoadedModel, kind: Any, options: RequestOptions | None = None, **body: Any) -> str:
    """What the model reads, as text."""
    asked = parsed(kind, {"model": "m"} | body)
    ids = prepare(asked, loaded, options or RequestOptions()).inputs["input_ids"][0]
    return str(loaded.processor.tokenizer.decode(ids))


def client(url: str) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def test_an_answer_calls_a_tool(loaded: LoadedModel) -> None:
    request = {"model": loaded.name, "messages": chat("look", "heldout-000"), "tools": TOOLS, "max_tokens": 200}
    with serving_here(loaded, PLAN) as (url, lines), client(url) as one:
        with saying(loaded, f"so {CALL}"):
            whole = one.chat.completions.create(**request).choices[0]
        with saying(loaded, f"so {CALL}"):
            chunks = [chunk.choices[0] for chunk in one.chat.completions.create(**request, stream=True)]
        content = [{"role": "user", "content": "look"}]
        with saying(loaded, CALL):
            response = one.responses.create(model=loaded.name, input=content, tools=[{"type": "function", **LOOK}])
        with saying(loaded, "no"):
            plain = one.chat.completions.create(**request).choices[0]
        with saying(loaded, CALL), pytest.raises(openai.InternalServerError, match="call of a tool cannot be read"):
            one.chat.completions.create(**request | {"max_tokens": 30})
    (call,) = whole.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"place": "left"})
    assert whole.message.content.strip() == "so"
    assert whole.finish_reason == chunks[-1].finish_reason == "tool_calls"
    (streamed,) = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    assert streamed.function == streamed.function.model_copy(update=call.function.model_dump())
    assert "".join(chunk.delta.content or "" for chunk in chunks).strip() == "so"
    (called,) = [item for item in response.output if item.type == "function_call"]
    assert (called.name, json.loads(called.arguments)) == ("look", {"place": "left"})
    assert (plain.message.content, plain.finish_reason) == ("no", "stop")
    assert all("visual" in line for line in lines[:4])


def test_the_model_reads_tools_and_what_they_returned(loaded: LoadedModel) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"place": "left"}'}}
    turns = [
        {"role": "user", "content": "look", "tool_calls": None, "refusal": None},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "a star"},
    ]
    prompt = prompt_of(loaded, ChatRequest, messages=turns, tools=TOOLS)
    assert prompt.startswith('<|im_start|>system\n{"type": "function", "function": {"name": "look", "description": ')
    assert prompt.endswith(
        f"<|im_start|>assistant\n{CALL}<|im_end|>\n<|im_start|>tool\na star<|im_end|>\n<|im_start|>assistant\n"
    )
    items = [
        turns[0],
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"place": "left"}'},
        {"type": "function_call_output", "call_id": "c", "output": "a star"},
    ]
    assert prompt_of(loaded, ResponseRequest, input=items, tools=[{"type": "function", **LOOK}]) == prompt
    without = prompt_of(loaded, ChatRequest, messages=turns[:1], tools=TOOLS, tool_choice="none")
    assert (
        without
        == prompt_of(loaded, ChatRequest, messages=turns[:1])
        == prompt_of(loaded, ResponseRequest, input="look")
    )


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type: Input should be 'function'"),
        ({"tools": TOOLS, "tool_choice": "required"}, "a field is not served; got tool_choice 'required'"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, "a field is not served; got parallel_tool_calls False"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            "Expecting property name",
        ),
        ({"messages": [{"role": "assistant"}]}, "messages.0.content: Field required"),
        ({"tools": [{"type": "function", "function": {"name": "<|image_pad|>"}}]}, "spells a token that stands for"),
    ],
)
def test_wrong_tools(loaded: LoadedModel, body: dict[str, Any], line: str) -> None:
    with pytest.raises(HalfVError, match=line):
        prompt_of(loaded, ChatRequest, **{"messages": [{"role": "user", "content": "look"}]} | body)


def test_a_model_whose_calls_nobody_can_read(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded.model.config, "model_type", "another")
    with pytest.raises(HalfVError, match="transformers does not know how this model calls tools; leave out tools"):
        prompt_of(loaded, ChatRequest, messages=[{"role": "user", "content": "look"}], tools=TOOLS)


def test_values_for_the_chat_template(loaded: LoadedModel) -> None:
    off = RequestOptions(template_values={"enable_thinking": False})
    off.check(loaded.processor)
    asked = {"messages": [{"role": "user", "content": "look"}]}

    def ends(options: RequestOptions | None = None, **values: Any) -> bool:
        prompt = prompt_of(loaded, ChatRequest, options, **asked, chat_template_kwargs=values)
        return prompt.endswith("<think></think>")

    assert ends(off) and ends(enable_thinking=False) and ends(off, other=3)
    assert not (
        ends() or ends(off, enable_thinking=True) or ends(chat_template="<think></think>", messages=[], tools=[])
    )
    with pytest.raises(HalfVError, match="does not read a value; got colour; expected enable_thinking; change"):
        RequestOptions(template_values={"colour": 1}).check(loaded.processor)

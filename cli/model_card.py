"""The README.md of a published profile: what it is for, what it promises, and how to use and to make it."""

import html
import shlex
from pathlib import Path

from pydantic import JsonValue

from cli.summary import summary_rows
from halfv_core.hub import is_hub_name
from halfv_core.models import MODEL_NAMES
from halfv_core.profile import Profile
from probe.report.command import reproduce

TAGS = ["halfv-probe", "visual-token-pruning", "multimodal", "inference-acceleration"]
_LOCAL = ("time", "rows not used")
"""Rows of the summary that say something about the machine and the data alone."""


def model_card(profile: Profile, repository: str) -> str:
    """Markdown with the metadata that the hub reads.

    Args:
        profile: what is published, see `public_copy`.
        repository: OWNER/NAME.
    """
    from huggingface_hub import ModelCardData

    model = hub_id(profile.provenance.model_id)
    data = ModelCardData(base_model=model, library_name="halfv-probe", pipeline_tag="image-text-to-text", tags=[*TAGS])
    return f"---\n{data.to_yaml()}\n---\n\n{_text(profile, repository, model or profile.provenance.model_id)}"


def hub_id(name: str) -> str | None:
    """The hub's repository behind the name of a model; None for a folder or a bundled model."""
    found = MODEL_NAMES.get(name, name)
    return found if is_hub_name(found) and not Path(name).is_dir() else None


def public_copy(profile: Profile) -> Profile:
    """The profile without what concerns nobody else: this machine's folders, and data rows that could not be used."""
    origin = profile.provenance
    without = origin.model_copy(
        update={
            "model_id": _without_folder(origin.model_id),
            "data": _without_folder(origin.data),
            "arguments_given": {name: _without_folder(value) for name, value in origin.arguments_given.items()},
            "arguments_resolved": {name: _without_folder(value) for name, value in origin.arguments_resolved.items()},
            "rejected_first": (),
        }
    )
    return profile.model_copy(update={"provenance": without})


def _without_folder(value: JsonValue) -> JsonValue:
    """Only the last part of a path from the root or the home; also in lists."""
    if isinstance(value, list):
        return [_without_folder(item) for item in value]
    if isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~")):
        return Path(value).name
    return value


def _text(profile: Profile, repository: str, model: str) -> str:
    origin, saved = profile.provenance, profile.expected
    typed = shlex.quote(model)
    rows = "\n".join(f"| {label} | {_cell(text)} |" for label, text in summary_rows(profile) if label not in _LOCAL)
    revision = f", revision `{origin.revision}`" if origin.revision else ""
    samples, data = len(origin.sample_ids) + len(origin.held_out_ids), _cell(origin.data)
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    return f"""# {repository}: {_cell(model)} with fewer visual tokens

A calibration profile of halfv-probe: it says at which layers of `{_cell(model)}`{revision} visual tokens are dropped
or frozen. That saves {saved.flops_ratio:.2f}x of the decoder's FLOPs in the prefill and {saved.kv_ratio:.2f}x of the
prompt's KV cache. The model itself stays as it is: nothing was trained.

| | |
|---|---|
{rows}

What is proven holds for data like those of the calibration, {samples} samples of {data}. Check it on yours.

## Use

```python
from halfv_core import Profile, apply

with apply(model, Profile.load("{repository}")):
    model.generate(**inputs)
```

```sh
halfv-probe generate --model {typed} --profile {repository} --image I --prompt Q --compare
halfv-probe evaluate --model {typed} --profile {repository} --data D
halfv-probe plot {repository} --output report.html
```

## How it was made

```sh
{reproduce(profile)}
```

On {_cell(origin.device)} in {origin.dtype}, {origin.created}; {versions}.
Fingerprint of the data: `{origin.data_fingerprint[:16]}`.
"""


def _cell(text: str) -> str:
    """Text from data or a model, which neither HTML nor a Markdown table takes for its own."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|").replace("`", "'")

"""Inputs and outputs of the peers' own functions, from tests/golden/peers (whose README says where they come from)."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

GOLDEN = Path(__file__).parent / "golden" / "peers"


def peer_cases(name: str) -> list[dict[str, Any]]:
    """The cases of a peer: tensors under the names of its oracle, and its numbers from the file's metadata."""
    with safe_open(GOLDEN / f"{name}.safetensors", framework="pt") as file:
        cases: list[dict[str, Any]] = json.loads(file.metadata()["cases"])
        for key in file.keys():
            case, field = key.split(".", 1)
            cases[int(case)][field] = file.get_tensor(key)
    return cases

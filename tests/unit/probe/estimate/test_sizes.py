"""Built-in sizes are those of the configs, where these ship, and plausible elsewhere."""

import pytest

from halfv_core.checkpoint_size import described_size
from halfv_core.errors import ModelError
from halfv_core.models import MODEL_NAMES
from probe.bench.synthetic import config_of, shipped_shapes
from probe.estimate.lookup import find_sizes
from probe.estimate.sizes import KNOWN, sizes_of
from tests.checkpoints import save_checkpoint

TOWERS = {
    **dict.fromkeys(("internvl3-38b", "internvl3-78b"), (5.5e9, 6e9)),
    **dict.fromkeys(("smolvlm-256m", "smolvlm-500m"), (0.09e9, 0.1e9)),
}
"""Parameters of towers and projectors that are of another size."""


def test_every_short_name_is_known() -> None:
    assert KNOWN.keys() == MODEL_NAMES.keys()


@pytest.mark.parametrize("name", sorted(shipped_shapes()))
def test_known_sizes_are_those_of_the_config(name: str) -> None:
    config, known = config_of(name), KNOWN[name]
    found = sizes_of(config, described_size(config)[0], "bfloat16")
    assert (found.decoder, found.vocabulary, found.vision) == (known.decoder, known.vocabulary, known.vision)
    assert found.tied == known.tied
    assert found.parameters == pytest.approx(known.parameters, rel=1e-3)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_what_is_left_of_the_parameters_is_a_vision_tower(name: str) -> None:
    """A wrong width, depth or vocabulary would show: towers and projectors have 0.3 to 0.75 billion parameters."""
    least, most = TOWERS.get(name, (0.3e9, 0.75e9))
    assert least < KNOWN[name].other_parameters < most


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "internvl", "idefics3", "mistral3"])
def test_sizes_of_a_folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = find_sizes(str(save_checkpoint(family, tmp_path_factory.mktemp("model"))))
    assert (found.sizes.decoder.layers, found.sizes.decoder.hidden, found.source) == (5, 32, "config.json")
    assert (found.dtype, found.sizes.decoder.value_bytes) == ("float32", 4)
    assert found.sizes.parameters > 0


def test_unknown_models_and_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="no config.json of nobody/nothing is at hand.*hf download nobody/nothing"):
        find_sizes("nobody/nothing")
    with pytest.raises(ModelError, match="unknown dtype; got int3"):
        find_sizes("qwen2.5-vl-7b", "int3")
    assert find_sizes(MODEL_NAMES["qwen2.5-vl-72b"]) == find_sizes("qwen2.5-vl-72b")
    assert find_sizes("qwen2.5-vl-72b", "float32").sizes.decoder.value_bytes == 4

"""`halfv-probe export`: its output can be read back as the same profile."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.export import Format, as_text
from cli.main import app
from halfv_core.profile import Profile
from tests import profiles


@pytest.fixture(params=[profiles.qwen_like, profiles.llava_like, profiles.unsaturated])
def profile(request: pytest.FixtureRequest) -> Profile:
    made = request.param()
    assert isinstance(made, Profile)
    return made


def test_yaml_reads_back(profile: Profile) -> None:
    assert Profile.model_validate(yaml.safe_load(as_text(profile, Format.YAML))) == profile


def test_json_is_the_file_itself(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    profile.save(path)
    for arguments in ([], ["--json"], ["--format", "json"]):
        result = CliRunner().invoke(app, ["export", str(path), *arguments])
        assert (result.exit_code, result.stdout) == (0, path.read_text(encoding="utf-8"))


def test_a_hostile_name_survives_yaml() -> None:
    profile = profiles.qwen_like()
    name = "a: [b]\n- 'c' \"d\" #e !!python/object:os.system \u2028 \U0001f600"
    profile = profile.model_copy(update={"provenance": profile.provenance.model_copy(update={"model_id": name})})
    assert Profile.model_validate(yaml.safe_load(as_text(profile, Format.YAML))).provenance.model_id == name


def test_output_goes_to_a_file(profile: Profile, tmp_path: Path) -> None:
    path, output = tmp_path / "profile.json", tmp_path / "profile.yaml"
    profile.save(path)
    result = CliRunner().invoke(app, ["export", str(path), "--format", "yaml", "--output", str(output)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert output.read_text(encoding="utf-8") == as_text(profile, Format.YAML)

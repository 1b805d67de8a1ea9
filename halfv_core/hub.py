"""Profiles on the Hugging Face hub: a model repository that holds a `profile.json`.

Profile.load("owner/name")          # or "owner/name@revision"
publish("owner/name", {"profile.json": profile.model_dump_json().encode(), "README.md": card.encode()})
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from halfv_core.errors import HalfVError, ProfileError

PROFILE_FILE = "profile.json"
_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
_OF_FILES = (".json", ".yaml", ".yml")

R = TypeVar("R")


def is_hub_name(text: str) -> bool:
    """Whether this is OWNER/NAME or OWNER/NAME@REVISION, and not a path as files and folders have."""
    return _NAME.fullmatch(text) is not None and not text.startswith(".") and not text.lower().endswith(_OF_FILES)


def check_repository(name: str) -> None:
    """Raise HalfVError for what is not OWNER/NAME."""
    if not is_hub_name(name) or "@" in name:
        raise HalfVError("not a name of a repository", got=repr(name), expected="OWNER/NAME")


def downloaded(name: str) -> Path:
    """The profile of a repository, in the hub's local cache, downloaded if need be.

    Args:
        name: see `is_hub_name`.

    Raises:
        ProfileError: no such repository, revision or profile, no access, or no network and not in the cache.
    """
    from huggingface_hub import hf_hub_download

    repository, _, revision = name.partition("@")
    is_offline = not hub_answers()

    def download() -> str:
        return hf_hub_download(repository, PROFILE_FILE, revision=revision or None, local_files_only=is_offline)

    return Path(_asked(f"cannot read profile {name}", download, ProfileError))


def publish(
    repository: str, files: Mapping[str, bytes], message: str = "Publish a profile", private: bool = False
) -> str:
    """Write files into a model repository, all in one commit; the repository is made if there is none.

    Args:
        repository: OWNER/NAME.
        files: by their path in the repository.
        private: whether a new repository is private; one that exists stays as it is.

    Returns:
        The address of the commit.

    Raises:
        HalfVError: not a name of a repository, not logged in, no right to write, or no network.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    check_repository(repository)
    fault = f"cannot publish to {repository}"
    if not hub_answers():
        raise HalfVError(fault, got="no answer from the hub", remedy="connect to the network, and unset HF_HUB_OFFLINE")
    api = HfApi()

    def commit() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        additions = [CommitOperationAdd(path, content) for path, content in files.items()]
        return str(api.create_commit(repository, additions, commit_message=message).commit_url)

    return _asked(fault, commit, HalfVError)


def hub_answers() -> bool:
    """One quick question instead of the hub client's minute of retries for every file."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # noqa: BLE001 - every transport has its own error classes, and all mean the same here
        return False
    return True


def _asked(fault: str, ask: Callable[[], R], error_class: type[HalfVError]) -> R:
    """The hub's answer; its client's errors on one line.

    Raises:
        error_class: the hub refuses, or cannot be asked.
    """
    from huggingface_hub import errors

    log_in = "check the name, or log in (`hf auth login`, or HF_TOKEN) as somebody who may"
    try:
        return ask()
    except errors.LocalEntryNotFoundError:
        got, remedy = "no file, nothing in the local cache, and no answer from the hub", "check the path, or connect"
    except errors.RevisionNotFoundError:
        got, remedy = "no such revision", "look at the repository's commits"
    except errors.EntryNotFoundError:
        got, remedy = f"a repository without {PROFILE_FILE}", "name one that `halfv-probe publish` has made"
    except errors.RepositoryNotFoundError:
        got, remedy = "neither a file nor a repository that can be seen", log_in
    except (errors.LocalTokenNotFoundError, errors.HfHubHTTPError) as error:
        got, remedy = _first_line(error), log_in
    except (errors.HFValidationError, OSError) as error:
        got, remedy = _first_line(error), "check the name and the network"
    raise error_class(fault, got=got, remedy=remedy)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "server_message", None) or error).strip().partition("\n")[0]

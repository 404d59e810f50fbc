"""Models on the Hugging Face hub, by ``owner/name`` or ``owner/name@revision``."""

from __future__ import annotations

import re
from pathlib import Path

from boxpromptiml.errors import MissingExtraError, ModelError

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
# What a model folder holds: no other file of a repository is fetched.
_PATTERNS = ["config.json", "card.json", "model.*", "model-*"]


def is_hub_id(text: str) -> bool:
    """Whether a text can be a hub id: ``owner/name``, behind ``@`` a branch, tag or commit.

    What starts with a folder that is there is a path with a mistake in it, and nobody's name on the hub.
    """
    return _ID.fullmatch(text) is not None and not Path(text.partition("/")[0]).exists()


def hub_folder(hub_id: str) -> Path:
    """The folder of a model on the hub: downloaded where it is new, from the cache where the hub cannot be reached.

    With a commit as revision, or ``HF_HUB_OFFLINE=1``, a cached model is used without asking the hub.

    Raises:
        ModelError: no such model or revision, not a model, no access, or neither network nor cache; one line.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub") from error
    match = _ID.fullmatch(hub_id)
    if match is None:
        raise ModelError(f"{hub_id}: not a hub id; write owner/name or owner/name@revision")
    repo, revision = match["repo"], match["revision"]
    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=_PATTERNS))
    except GatedRepoError as error:
        raise ModelError(
            f"{hub_id}: access to it must be granted; ask for it on its page, then `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{hub_id}: {repo} has no revision {revision}; leave it out, or see its page for tags"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{hub_id}: neither a folder here nor a model on the hub; check it (private ones need `hf auth login`)"
        ) from error
    except Exception as error:  # no network has as many exceptions as there are layers below
        raise ModelError(
            f"{hub_id}: neither a folder here nor in the cache, and the hub cannot be reached "
            f"({type(error).__name__}); download it once with a network, or give --model FOLDER"
        ) from error
    if not (folder / "config.json").is_file():
        raise ModelError(f"{hub_id}: has no config.json; a model is what `boxpromptiml train` writes")
    return folder

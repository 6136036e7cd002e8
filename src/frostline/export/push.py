"""How does an export get onto the hub? By its own library, only where asked, private unless said otherwise."""

from __future__ import annotations

from pathlib import Path

from frostline.errors import FrostlineError
from frostline.hub import hub_trouble

_PUSHING = "Log in with 'hf auth login', or set HF_TOKEN."


def require_pushable(repository: str) -> None:
    """Raise `FrostlineError` where nothing could be pushed to `repository`: told before anything is exported."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise FrostlineError(f"'{repository}' is no name of a repository.", "Such as --push NAME/MODEL.") from error
    if get_token() is None:
        raise FrostlineError(f"nothing can be pushed to '{repository}' without a token of the hub.", _PUSHING)
    if trouble := hub_trouble():
        raise FrostlineError(f"the hub cannot be reached ({trouble}).", "Export without --push, and push it later.")


def push(folder: Path, repository: str, *, public: bool) -> str:
    """Upload `folder` as it is to `repository`, which is made unless it is there; its address comes back.

    One that is there stays as public as it is. Raises `FrostlineError` with what the hub said; the folder stays.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    raised: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError)
    """The bases of its own error are those of whatever it speaks HTTP with."""
    disable_progress_bars()
    api = HfApi(library_name="frostline")
    try:
        address = api.create_repo(repository, private=not public, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=address.repo_id, commit_message="Export by Frostline")
    except raised as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise FrostlineError(
            f"it was exported to {folder}, and not pushed to '{repository}': {reason[:120]}.",
            f"Push it later: hf upload {repository} {folder}",
        ) from error
    return str(address)

"""May code that comes with a model run? Only where the command line names exactly that code (`--trust-remote-code`).

A recipe can never ask for it. What is named is a pin: the full commit of a hub id, or the SHA-256 of a folder's Python
files; so that what runs is what was read.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from transformers import CONFIG_MAPPING, PretrainedConfig

from frostline.errors import ModelError, at
from frostline.recipe import ModelSettings

_COMMIT = re.compile(r"[0-9a-f]{40}")


@at("model", "source")
def may_run_code(settings: ModelSettings, source: str) -> bool:
    """Whether loading from `source` shall run code that lies there.

    False where the model needs none: every family of transformers has its code there. Raises `ModelError` where it
    does and the code is not pinned, or a pin is given for nothing; `OSError` where there is no configuration.
    """
    configuration, _ = PretrainedConfig.get_config_dict(source, revision=settings.revision)
    modules = configuration.get("auto_map")
    if not modules or configuration.get("model_type") in CONFIG_MAPPING:
        if settings.trusted_code is not None and not settings.is_one_of_several:
            raise ModelError(f"'{settings.source}' needs no code of its own.", "Leave out --trust-remote-code.")
        return False
    if "--" in str(modules):
        raise ModelError(
            f"'{settings.source}' wants to run code from another repository, which no pin covers.",
            "Copy model and code into one folder, and read the code.",
        )
    pin = _pin(settings, source)
    if pin is None:
        raise ModelError(
            f"'{settings.source}' comes with code of its own, and its revision is not a full commit.",
            "Read the code at one commit and name that: model.revision in the recipe (40 digits), and the same after "
            "--trust-remote-code.",
        )
    if settings.trusted_code != pin:
        if settings.trusted_code is not None and settings.is_one_of_several:
            raise ModelError(
                f"'{settings.source}' comes with code of its own, which is not what was trusted "
                f"('{settings.trusted_code}').",
                f"One experiment trusts one code: give this model an experiment of its own, with {pin}.",
            )
        other = "" if settings.trusted_code is None else f", and is not what was trusted ('{settings.trusted_code}')"
        raise ModelError(
            f"'{settings.source}' comes with code of its own, which Frostline does not run unasked{other}.",
            f"Read it; if you trust it, add: --trust-remote-code {pin}",
        )
    return True


def trusting_folder(settings: ModelSettings) -> ModelSettings:
    """`settings` of a folder whose code was trusted where it came from: whatever lies there now is trusted."""
    return settings.trusting(_pin(settings, settings.source))


def _pin(settings: ModelSettings, source: str) -> str | None:
    """What names the code and nothing else; None where the revision may move."""
    folder = Path(source)
    if not folder.is_dir():
        return settings.revision if settings.revision and _COMMIT.fullmatch(settings.revision) else None
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\n{len(content)}\n".encode() + content)
    return f"sha256:{digest.hexdigest()}"

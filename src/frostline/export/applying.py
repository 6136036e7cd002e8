"""How does a patch become a model again, where only its base is at hand? The base's hashes are checked first."""

from __future__ import annotations

from pathlib import Path

from frostline.export.exporting import placed, require_free
from frostline.export.filed import base_files
from frostline.export.folder import write_model_folder
from frostline.export.kept import Say
from frostline.export.patch import read_patch, require_base
from frostline.loading import load_tokenizer, runs_code, weight_files
from frostline.recipe import ModelSettings


def put_patch(settings: ModelSettings, patch_file: Path, out: Path, cache: Path, *, say: Say) -> None:
    """Write the model that `settings` names, with the patch in `patch_file` on it, to the new folder `out`.

    Its tensors are those of the export as a folder, bit for bit. Raises `FrostlineError` in one sentence where base and
    patch do not belong together, or one of them is not whole.
    """
    patch = read_patch(patch_file)
    if settings.source == patch.base_model and settings.revision is None:
        settings = settings.model_copy(update={"revision": patch.base_revision or None})
    require_free(out)
    with_code = runs_code(settings, cache)
    base = base_files(weight_files(settings, cache))
    say("Comparing the base with what the patch was made for")
    require_base(patch, base, settings.source)
    tokenizer = load_tokenizer(settings, cache)
    say("Writing the model")
    weights = sum(own.end - own.begin for own in base.tensors.values())

    def write(folder: Path) -> None:
        write_model_folder(base, patch, tokenizer, folder, with_code=with_code)

    placed(out, write, weights + patch.bytes)

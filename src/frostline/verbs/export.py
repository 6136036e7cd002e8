"""How does one take a trained model away? What `frostline export` and `frostline apply-patch` do."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from frostline.errors import FrostlineError, nearest
from frostline.verbs.work import ProgressWanted, at_work

if TYPE_CHECKING:
    from frostline.export import DType, Exported, Kind


def export_arm(
    folder: str | PathLike[str],
    arm: str,
    kind: Kind = "folder",
    *,
    seed: int | None = None,
    variant: str | None = None,
    out: str | PathLike[str] | None = None,
    dtype: DType = "base",
    push: str | None = None,
    public: bool = False,
    recipe_folder: str | PathLike[str] | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> Exported:
    """Export the trained model of `arm` from the run in `folder`: as a model folder, a patch of its base or an adapter.

    `seed` is the replicate, the first one unless given; `variant` the label of one, where the run varies something.
    `out` is the folder to make, `RUN-ARM-KIND` beside the run unless given. Trained tensors are written in the type of
    the base's file, or in that in which they were trained with `dtype="float32"`. What was written is loaded, and its
    held-out loss compared with the run's, before it is moved to its place. `push` is a repository of the hub onto which
    it goes, too: private unless `public`. `recipe_folder` is where the folder of the recipe is now, if it was moved.
    """
    from frostline.export import Choice, Wish
    from frostline.export import DType as DTypes
    from frostline.export import Kind as Kinds
    from frostline.export import export_arm as export
    from frostline.terminal.plan import plan_as_text

    for given, known in ((kind, get_args(Kinds)), (dtype, get_args(DTypes))):
        if given not in known:
            hint = nearest(given, known) or f"Use {', '.join(known)}."
            raise FrostlineError(f"'{given}' is not understood.", hint)
    run_folder = Path(folder)
    parts = [run_folder.resolve().name, arm, *([] if seed is None else [f"seed{seed}"]), kind]
    target = run_folder.resolve().parent / "-".join(parts) if out is None else Path(out)
    with at_work(cache, progress) as work:
        return export(
            Choice(run_folder, arm, seed, variant),
            Wish(kind, target, dtype, push, public),
            work.cache,
            draw=plan_as_text,
            recipe_folder=None if recipe_folder is None else Path(recipe_folder),
            trusted_code=trusted_code,
            say=work.progress.say,
        )


def apply_patch(
    base: str,
    patch: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    revision: str | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> Path:
    """Put a patch that `export_arm` wrote onto its base model; the new model folder comes back.

    `base` is a folder, a hub id or `embedded`; that it is the one of which the patch was made is checked by its bytes.
    `out` is the folder to make, `patched` unless given. Tensors are, bit for bit, those of the export as a folder.
    """
    from frostline.export import put_patch
    from frostline.recipe import ModelSettings, require_model

    settings = ModelSettings(source=base, revision=revision).trusting(trusted_code)
    require_model(settings)
    target = Path("patched") if out is None else Path(out)
    with at_work(cache, progress) as work:
        put_patch(settings, Path(patch), target, work.cache, say=work.progress.say)
    return target

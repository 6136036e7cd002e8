"""Commands that take a trained model away: as a folder, a patch or an adapter; and a patch back onto its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from frostline import verbs
from frostline.cli.command import AsJson, MovedRecipe, RunFolder, TrustedCode, app, print_json
from frostline.terminal.progress import Sentences


@app.command(
    epilog="Examples:  frostline export runs/demo --arm freeze  ·  frostline export runs/demo --arm freeze --as patch"
)
def export(
    run_folder: RunFolder,
    arm: Annotated[str, typer.Option("--arm", help="Whose training is exported.", show_default=False)],
    kind: Annotated[
        Literal["folder", "patch", "adapter"],
        typer.Option("--as", help="A whole model; what trained alone; or PEFT's adapter, of a LoRA arm."),
    ] = "folder",
    seed: Annotated[int | None, typer.Option("--seed", help="The replicate.", show_default="the first one")] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="LABEL", help="Of a run that varies something.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to make.", show_default="RUN-ARM-KIND")] = None,
    dtype: Annotated[
        Literal["base", "float32"],
        typer.Option("--dtype", help="Type of trained tensors: that of the base's file, or that of training."),
    ] = "base",
    push: Annotated[
        str | None, typer.Option("--push", metavar="REPO", help="Also upload it to this repository of the hub.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make that repository public; else it is private.")] = False,
    recipe_folder: MovedRecipe = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Export a trained model: loaded again, and its held-out loss compared with the run's, before it is done.

    Weights must have been kept: 'save: {ARM: all}' in the recipe keeps what trained, for every seed.
    """
    exported = verbs.export_arm(
        run_folder,
        arm,
        kind,
        seed=seed,
        variant=variant,
        out=out,
        dtype=dtype,
        push=push,
        public=public,
        recipe_folder=recipe_folder,
        trusted_code=trusted_code,
        progress=Sentences(Console(stderr=True)),
    )

    from frostline.terminal.export import draw_export, export_as_json

    if as_json:
        print_json(export_as_json(exported))
    else:
        Console().print(draw_export(exported), soft_wrap=True)


@app.command(
    name="apply-patch", epilog="Examples:  frostline apply-patch OWNER/MODEL patch.safetensors --out runs/patched"
)
def apply_patch(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The base model: a folder, a hub id, or embedded.")],
    patch: Annotated[Path, typer.Argument(metavar="PATCH", help="The patch (patch.safetensors).", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="The folder to make.", show_default="patched")] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit, branch or tag of a hub id.", show_default=False)
    ] = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Put a patch onto the model that it was made of, whose bytes are checked, and write the whole model."""
    folder = verbs.apply_patch(
        base, patch, out=out, revision=revision, trusted_code=trusted_code, progress=Sentences(Console(stderr=True))
    )
    if as_json:
        print_json({"folder": str(folder)})
    else:
        Console().print(str(folder), soft_wrap=True, highlight=False)

"""What does a user see of an export? Where it is, that it is the model that was trained, and what to know of it."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.text import Text

from frostline.export import Exported
from frostline.readable import size

_KINDS = {"folder": "model folder", "patch": "patch", "adapter": "adapter"}


def draw_export(exported: Exported) -> RenderableType:
    """What was exported, in a few lines."""
    what = f"{exported.arm}, seed {exported.seed}, as {_KINDS[exported.kind]}: {size(exported.bytes)}"
    loss = f"held-out loss {exported.loss_nats:.4f} nats, loaded again; the run's own {exported.run_loss_nats:.4f}"
    lines = [Text(what, "bold"), Text(str(exported.folder)), Text(loss), Text(exported.unchanged, "dim")]
    lines += [Text(remark, "yellow") for remark in exported.remarks]
    lines += [Text(f"pushed to {exported.pushed}")] if exported.pushed else []
    return Group(*lines)


def export_as_json(exported: Exported) -> dict[str, object]:
    """The same as plain values that `json.dumps` takes."""
    return asdict(exported) | {"folder": str(exported.folder), "remarks": list(exported.remarks)}

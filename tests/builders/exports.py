"""A run whose training was kept, to be exported; and what is compared in what was exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModelForCausalLM, PreTrainedModel

from frostline.arms import prepare
from frostline.export import Choice, Exported, Wish, export_arm
from frostline.recipe import load_recipe, variants_of
from frostline.run_folder import Evaluation, read_journal, records_of
from frostline.stats import write_summary
from frostline.terminal.plan import plan_as_text
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.filed import write_both
from tests.builders.models import tiny_model


def keep_run(folder: Path, family: str, *, narrow: bool = False, shards: bool = False, **changes: object) -> Path:
    """Run an experiment in `folder` whose model lies there in bf16 if `narrow`; the run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    narrow_folder, wide_folder = write_both(folder, tiny_model(family), shards=shards)
    (narrow_folder if narrow else wide_folder).rename(folder / "model")
    measures: dict[str, object] = {"evaluate_every": 0, "memory": False, "sampling": {"prompts": 0}}
    settings: dict[str, object] = {"measures": measures, "retention": "none", **changes}
    recipe = write_experiment(folder, family, layers=4, **settings)
    run_tiny(recipe, folder / "run")
    write_summary(folder / "run")
    return folder / "run"


def exported(run: Path, arm: str, kind: str, out: Path, *, seed: int | None = None, **wish: object) -> Exported:
    """What was exported of the run to `out`."""
    wanted = Wish(kind, out, **wish)  # type: ignore[arg-type]
    return export_arm(Choice(run, arm, seed), wanted, run.parent / "cache", draw=plan_as_text)


def raw_tensors(folder: Path) -> dict[str, tuple[str, str, bytes]]:
    """File, type and bytes of every tensor of a model folder, by name, in the order in which they lie there."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        content = file.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            found[name] = (file.name, str(entry["dtype"]), content[start + begin : start + end])
    return found


def changed(folder: Path, base: Path) -> set[str]:
    """Names of the tensors whose bytes are not the base's; order, files and types are the same."""
    new, old = raw_tensors(folder), raw_tensors(base)
    assert [(name, *own[:2]) for name, own in new.items()] == [(name, *own[:2]) for name, own in old.items()]
    return {name for name, own in new.items() if own[2] != old[name][2]}


def plain(folder: Path) -> PreTrainedModel:
    """The model in `folder` as plain transformers loads it."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


def loss_by_hand(run: Path, model: PreTrainedModel) -> float:
    """Held-out loss of the run's windows, a plain mean over their next tokens."""
    (variant,) = variants_of(load_recipe(run / "experiment.yaml"))
    corpus = prepare(variant, run.parent / "cache", say=lambda text: None).corpus
    total, count = 0.0, 0
    model.eval()
    for batch in corpus.held_out_batches(1):
        ids = torch.from_numpy(batch.input_ids)
        with torch.no_grad():
            logits = model(input_ids=ids).logits[:, :-1].double()
        total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
        count += ids[:, 1:].numel()
    return total / count


def own_loss(run: Path, arm: str, seed: int = 0) -> float:
    """Held-out loss that the journal ends with."""
    found = [own for own in records_of(read_journal(run), Evaluation) if (own.arm, own.seed) == (arm, seed)]
    return [own for own in found if own.corpus == "held_out"][-1].loss_nats


def metadata(folder: Path) -> dict[str, Any]:
    """What the card in `folder` says to the hub."""
    values: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    return values

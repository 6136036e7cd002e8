"""What else several processes do with an arm that they hold together: `... sharded_scenes FOLDER PROCESSES SCENE ...`.

Process 0 writes what came of each scene to `FOLDER/SCENE.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from frostline.engine import Arm, state_of
from frostline.engine.sharded_checkpoint import (
    read_shards,
    remove_shards,
    restore_shard,
    sharded_weights,
    whole_weights,
    write_list,
    write_shard,
)
from frostline.engine.sharding import shard_arm
from frostline.errors import FrostlineError, ModelError
from frostline.measures import WeightWatch, evaluate_loss, sample_continuations, weights_sha256
from frostline.plans import decoder_stack
from frostline.recipe import SamplingSettings
from frostline.storage import seal
from tests.builders.batches import random_batch
from tests.builders.live_bytes import LiveBytes
from tests.engine.sharded_cases import CASES, CPU, Case, group, run, tried, whole_weights_of

SAVED_AFTER = 10
CHECKPOINT = "000000010-1"


def sharded(case: Case) -> Arm:
    """The arm of `case`, held together by all processes."""
    arm = case.arm(for_shards=True)
    shard_arm(arm, group())
    return arm


def losses(arm: Arm, case: Case, steps: range) -> list[float]:
    """Of these steps."""
    return [arm.take_step(case.batch(step), step).loss_nats for step in steps]


def hashed(arm: Arm, case: Case) -> str:
    """SHA-256 of what the arm has trained."""
    return weights_sha256(whole_weights_of(arm, case).items())


def save(arm: Arm, folder: Path, name: str = CHECKPOINT) -> None:
    """A checkpoint by all processes."""
    own = write_shard(state_of(arm, SAVED_AFTER), folder, name, dist.get_rank())
    told = [torch.empty(64, dtype=torch.uint8) for _ in range(dist.get_world_size())]
    dist.all_gather(told, torch.tensor(list(own.encode()), dtype=torch.uint8))
    if dist.get_rank() == 0:

        def write(new: Path) -> dict[str, int | str]:
            write_list(new, [bytes(sums.tolist()).decode() for sums in told])
            return {"steps": SAVED_AFTER}

        seal(folder, name, write)
    dist.barrier()


def measured(folder: Path) -> dict[str, object]:
    """Losses on held-out windows, and text, of an arm in training; which goes on as if nothing had been measured."""
    found: dict[str, object] = {}
    for name in tried("suffix", "tied", "gradual", "suffix-bf16", "lora"):
        case = CASES[name]
        arm, untouched = sharded(case), sharded(case)
        windows = [random_batch(50), random_batch(51)]
        evaluated, texts = [], []
        for step in range(6):
            arm.take_step(case.batch(step), step)
            untouched.take_step(case.batch(step), step)
            with sharded_weights(arm).whole_outside():
                measure = evaluate_loss(
                    arm.model, windows, device=CPU, precision=case.precision, beginning=arm.forward.beginning(step + 1)
                )
            evaluated.append(measure.loss_nats)
            if step % 3 == 0:
                texts.append(written(arm, case))
        with sharded_weights(arm).whole_outside():
            texts.append(text_of(arm, case))
        same = hashed(arm, case) == hashed(untouched, case)
        found[name] = {"evaluated": evaluated, "texts": texts, "undisturbed": same}
    return found


def written(arm: Arm, case: Case) -> list[list[int]]:
    """What the first process writes on all of the model, which the others give it."""
    if dist.get_rank() > 0:
        sharded_weights(arm).give_whole()
        return []
    with sharded_weights(arm).all_whole():
        return text_of(arm, case)


def text_of(arm: Arm, case: Case) -> list[list[int]]:
    """What the arm writes."""
    prompts = np.array([[3, 4, 5], [6, 7, 8]], dtype=np.int64)
    settings = SamplingSettings(new_tokens=6)
    return sample_continuations(
        arm.model, prompts, settings, 0, [], device=CPU, precision=case.precision, by_cache=True
    )


def resumed(folder: Path) -> dict[str, object]:
    """Arms that go on from a checkpoint, and arms that were never stopped."""
    found: dict[str, object] = {}
    for name in tried("suffix", "tied", "gradual", "split", "lora", "suffix-bf16", "narrowing"):
        case, place = CASES[name], folder / f"checkpoints-{name}"
        arm = sharded(case)
        losses(arm, case, range(SAVED_AFTER))
        save(arm, place)
        straight = losses(arm, case, range(SAVED_AFTER, case.steps))
        again = sharded(case)
        restore_shard(again, place, CHECKPOINT)
        rest = losses(again, case, range(SAVED_AFTER, case.steps))
        moved = sharded_weights(again).verify().moved
        found[name] = {
            "straight": straight,
            "resumed": rest,
            "sha256": [hashed(arm, case), hashed(again, case)],
            "moved": list(moved),
        }
    return found


def saved(folder: Path) -> dict[str, object]:
    """A checkpoint, and the losses that follow it, for other numbers of processes to read."""
    case = CASES["gradual"]
    arm = sharded(case)
    losses(arm, case, range(SAVED_AFTER))
    save(arm, folder / "kept")
    return {"after": losses(arm, case, range(SAVED_AFTER, case.steps))}


def read_by_another_number(folder: Path) -> dict[str, object]:
    """What a checkpoint gives that another number of processes wrote."""
    case = CASES["gradual"]
    refused = ""
    try:
        restore_shard(sharded(case), folder / "kept", CHECKPOINT)
    except FrostlineError as error:
        refused = str(error)
    arm = sharded(case)
    restore_shard(arm, folder / "kept", CHECKPOINT, accept_changes=True)
    after = losses(arm, case, range(SAVED_AFTER, case.steps))
    return {"refused": refused, "after": after, "moved": list(sharded_weights(arm).verify().moved)}


def damaged(folder: Path) -> dict[str, object]:
    """Why checkpoints are not read: a shard that is another's, one without its bytes, one that is missing."""
    case = replace(CASES["suffix"], steps=2)
    arm = sharded(case)
    losses(arm, case, range(2))
    reasons = []
    for kind in ("other", "bytes", "missing"):
        save(arm, folder / kind)
        if dist.get_rank() == 0:
            shard = folder / kind / "shards" / CHECKPOINT / "0001"
            tensors = next(shard.glob("*.safetensors"))
            if kind == "bytes":
                tensors.write_bytes(tensors.read_bytes()[:-1] + b"\1")
            else:
                for path in shard.iterdir():
                    path.unlink()
                shard.rmdir()
            if kind == "other":
                write_shard(replace(state_of(arm, SAVED_AFTER), steps=3), folder / kind, CHECKPOINT, 1)
            try:
                read_shards(folder / kind, CHECKPOINT)
            except FrostlineError as error:
                reasons.append(str(error))
        dist.barrier()
    if dist.get_rank() == 0:
        remove_shards(folder / "bytes", [])
    return {"reasons": reasons, "left": [path.name for path in (folder / "bytes" / "shards").iterdir()]}


def read_weights(folder: Path) -> dict[str, object]:
    """Weights by their portions; and frozen bytes that were changed behind the engine's back."""
    found: dict[str, object] = {}
    for name in ("suffix", "tied", "split", "lora"):
        case = CASES[name]
        arm, alone = sharded(case), case.arm()
        portions = arm.applied.select(["attn", "embed"])
        values = [sharded_weights(arm).value_of(portion) for portion in portions]
        same = all(torch.equal(one, alone.applied.value_of(own)) for one, own in zip(values, portions, strict=True))
        state = whole_weights(arm, 1)
        found[name] = {"same": same, "frozen_before": list(sharded_weights(arm).verify().moved)}
        if dist.get_rank() == 0:
            assert state is not None
            expected = {name: own.detach() for name, own in alone.applied.trained_until(0)}
            found[name]["whole"] = all(torch.equal(own, expected[key]) for key, own in state.weights.items())  # type: ignore[index]
        if name == "lora" and dist.get_rank() == 1:
            _, layers = decoder_stack(arm.model)
            frozen = next(own for own in layers[3].parameters() if not own.requires_grad)
            with torch.no_grad():
                frozen.to_local().add_(1)  # type: ignore[attr-defined]  # in shards
        found[name]["moved"] = list(sharded_weights(arm).verify().moved)  # type: ignore[index]
    return found


def watched(folder: Path) -> dict[str, object]:
    """Norms of weight changes, by the leading process; the others let it read."""
    found: dict[str, object] = {}
    for name in tried("suffix", "split", "lora", "gradual", "tied"):
        case = CASES[name]
        arm = sharded(case)
        whole = sharded_weights(arm).whole_layer
        watch = WeightWatch(arm.applied, ["attn", "embed"], base=case.base(), whole=whole)
        norms = []
        for step in range(6):
            arm.take_step(case.batch(step), step)
            norms.append(norms_of(watch, step))
        found[name] = {"norms": norms, "final": asdict(watch.final())}
    return found


def norms_of(watch: WeightWatch, step: int) -> list[list[float]]:
    """Change and drift of each matrix."""
    norms = watch.after_step(step)
    assert norms is not None
    return [norms.change, norms.drift]


def refused(folder: Path) -> dict[str, object]:
    """Models that several processes cannot hold."""
    reasons = []
    for changed in (Case("opt", "train: all", model={"layerdrop": 0.5}),):
        try:
            sharded(changed)
        except ModelError as error:
            reasons.append(str(error))
    shared = CASES["suffix"].arm(for_shards=True)
    _, layers = decoder_stack(shared.model)
    layers[3].mlp = layers[2].mlp
    try:
        shard_arm(shared, group())
    except ModelError as error:
        reasons.append(str(error))
    return {"reasons": reasons}


def made(folder: Path) -> dict[str, object]:
    """The most bytes that are alive while an arm is made, and what they are made of, in fp32."""
    found: dict[str, object] = {}
    shape: dict[str, object] = {"layers": 8, "hidden_size": 64, "intermediate_size": 192, "tie_word_embeddings": False}
    for name in ("full", "filed"):
        case = replace(CASES[name], model=shape)
        base = case.base()
        _, layers = decoder_stack(base)
        with LiveBytes([*base.parameters(), *base.buffers()]) as live:
            arm = case.arm(base, for_shards=True)
            shard_arm(arm, group())
        found[name] = {
            "most": live.most,
            "trained": 4 * arm.applied.trained_parameters,
            "layer": 4 * sum(own.numel() for own in layers[0].parameters()),
        }
    return found


SCENES: dict[str, Callable[[Path], dict[str, object]]] = {
    own.__name__: own
    for own in (measured, resumed, saved, read_by_another_number, damaged, read_weights, watched, refused, made)
}


def main(folder: Path, size: int, names: list[str]) -> int:
    """Play the scenes called `names` in `size` processes."""

    def every() -> None:
        for name in names:
            found = SCENES[name](folder)
            if dist.get_rank() == 0:
                (folder / f"{name}.json").write_text(json.dumps(found))

    return run(size, every)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))

"""What is left of an arm that has trained? A folder that plain `from_pretrained` loads, or its trained tensors alone.

The tensors are those of a checkpoint without the optimizer: what froze is the base model's. `frostline export` puts the
two together.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers.utils import CONFIG_NAME

from frostline.arms import PlannedArm, Prepared, apply_trained, ordinary_model
from frostline.engine import Arm, write_state
from frostline.experiment.held_together import trained_weights
from frostline.run_folder import saved_model_folder
from frostline.storage import Facts, disk_trouble, seal


def keep_weights(arm: Arm, steps: int, seed: int, folder: Path) -> None:
    """Write what the arm has trained in `steps` steps to `folder`: all of it or nothing. The arm stays as it is.

    Raises `RunFolderError` where the disk does not take it.
    """
    state = trained_weights(arm, steps)

    def write(folder: Path) -> Facts:
        write_state(state, folder)
        return {"arm": arm.name, "seed": seed, "steps": steps}

    # What lies there was left by an attempt that was killed before its last line, under other conditions perhaps.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        seal(folder.parent, folder.name, write)
    except OSError as error:
        raise disk_trouble(error, folder, state.bytes) from error


def save_model(prepared: Prepared, planned: PlannedArm, arm: Arm, steps: int, run_folder: Path) -> Path:
    """Write the arm's model to `checkpoints/ARM` of the run folder: all of it or nothing. Ends the arm's training.

    It was trained in `steps` steps. Split matrices become whole again and adapters are merged, so that the folder holds
    an ordinary model; beside it lies the manifest that `frostline verify` checks. Raises `RunFolderError` where the
    disk does not take it.
    """
    variant, tokenizer = prepared.variant, prepared.tokenizer
    if arm.shards is None:
        arm.forward.finish()
        applied = arm.applied
    else:
        weights = trained_weights(arm, steps).weights  # which several processes have trained together
        applied = apply_trained(prepared, planned, arm.seed, steps, weights)
    model = ordinary_model(applied)
    target = saved_model_folder(run_folder, variant, arm.name)

    def write(folder: Path) -> Facts:
        model.save_pretrained(folder)
        _say_fp32(folder / CONFIG_NAME)
        tokenizer.save_pretrained(folder)
        return {"arm": arm.name, "variant": variant}

    try:
        seal(target.parent, target.name, write)
    except OSError as error:
        size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        raise disk_trouble(error, target, size) from error
    return target


def _say_fp32(config: Path) -> None:
    """Let the saved model be loaded in fp32 where it is loaded in the type that it names for itself.

    What was frozen is saved as its file had it, in bf16 perhaps, and would otherwise name the type of all.
    """
    content = json.loads(config.read_text(encoding="utf-8"))
    for part in (content, *(value for value in content.values() if isinstance(value, dict))):
        for key in {"dtype", "torch_dtype"} & part.keys():
            part[key] = "float32"
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")

"""How does the user get the trained model? As a folder that plain `from_pretrained` loads, with its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.utils import CONFIG_NAME

from frostline.engine import Arm
from frostline.plans import merge_adapters
from frostline.run_folder import saved_model_folder
from frostline.storage import Facts, disk_trouble, seal


def save_model(arm: Arm, tokenizer: PreTrainedTokenizerBase, variant: str, run_folder: Path) -> Path:
    """Write the arm's model to `checkpoints/ARM` of the run folder: all of it or nothing. Ends the arm's training.

    Split matrices become whole again and adapters are merged, so that the folder holds an ordinary model; beside it
    lies the manifest that `frostline verify` checks. Raises `RunFolderError` where the disk does not take it.
    """
    arm.forward.finish()
    arm.applied.release()
    model = merge_adapters(arm.model) if arm.applied.plan.lora is not None else arm.model
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

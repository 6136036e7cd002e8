"""How does the user get the trained model? As a folder that plain `from_pretrained` loads, with its tokenizer."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from frostline.engine import Arm
from frostline.launch.recorder import no_space
from frostline.plans import merge_adapters


def save_model(arm: Arm, tokenizer: PreTrainedTokenizerBase, variant: str, run_folder: Path) -> Path:
    """Write the arm's model to `checkpoints/ARM` of the run folder: all of it or nothing. Ends the arm's training.

    Split matrices become whole again and adapters are merged, so that the folder holds an ordinary model.
    """
    arm.forward.finish()
    arm.applied.release()
    model = merge_adapters(arm.model) if arm.applied.plan.lora is not None else arm.model
    label = re.sub(r"[^A-Za-z0-9.=_+-]+", "-", f"{variant}-{arm.name}" if variant else arm.name)
    target = run_folder / "checkpoints" / label
    target.parent.mkdir(exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix="saving-"))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.replace(target)
    except OSError as error:
        raise no_space(error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target

"""How does who finds an export use it? Lines for its card, which the tests run as they stand there."""

from __future__ import annotations

from collections.abc import Sequence

_FOLDER = """
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS FOLDER OR REPOSITORY", dtype="float32")
tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER OR REPOSITORY")
```
"""
_ADAPTER = """
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("{base}", dtype="float32")
model = PeftModel.from_pretrained(model, "THIS FOLDER OR REPOSITORY")
```
"""
PATCHING = """import hashlib
import json
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

patch = safe_open("patch.safetensors", "pt")
sums, rows = (json.loads(patch.metadata()[key]) for key in ("base_sha256", "rows"))
for file in {files}:
    tensors = load_file(f"BASE/{{file}}")
    for name in sorted(tensors.keys() & set(patch.keys())):
        old, new = tensors[name], patch.get_tensor(name)
        assert hashlib.sha256(old.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest() == sums[name], name
        if name in rows:
            places = [place for run in rows[name]["runs"] for place in range(*run)]
            new = old.to(new.dtype).index_copy(rows[name]["dimension"], torch.tensor(places), new)
        tensors[name] = new
    save_file(tensors, f"OUT/{{file}}", {{"format": "pt"}})
"""
"""Puts a patch onto the files of its base, without Frostline."""
_PATCH = """
With Frostline, which writes a whole model folder and checks that the base is the right one:

```sh
frostline apply-patch {base} patch.safetensors --out OUT
```

Without it, by safetensors alone; all other files of `BASE` are copied to `OUT` as they are:

```python
{lines}```
"""


def usage_of(kind: str, files: Sequence[str], base: str) -> str:
    """How to use an export of this kind; `files` are the weight files of its base, `base` its hub id or ''."""
    base = base or "BASE"
    if kind == "patch":
        listed = ", ".join(f'"{name}"' for name in files)
        text = _PATCH.format(base=base, lines=PATCHING.format(files=f"[{listed}]"))
    else:
        text = _ADAPTER.replace("{base}", base) if kind == "adapter" else _FOLDER
    return f"## How to use it\n{text}"

"""One run of each kind of base serves all tests of the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.exports import keep_run


@pytest.fixture(scope="package")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in bf16 in several files; arms that freeze, that change, and one with adapters."""
    arms = {
        "full": {"train": "all"},
        "freeze": {"train": ["attn.qkv@50%:", "norm@-1"]},
        "late": {"train": ["attn.q@-1:"], "changes": [{"at": 2, "thaw": ["mlp.up@-1:"]}]},
        "lora": {"lora": {"rank": 2, "targets": ["attn.qkv", "mlp.down"]}},
    }
    save = {"freeze": "all", "lora": "all", "late": "model"}
    return keep_run(tmp_path_factory.mktemp("narrow"), "llama", narrow=True, shards=True, arms=arms, save=save)


@pytest.fixture(scope="package")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in fp32 with fused matrices, stored as [in, out], and a head that is tied to the embeddings."""
    arms = {
        "part": {"train": ["attn.q@50%:", "attn.v@-1"]},
        "embed": {"train": ["embed", "head"]},
        "lora": {"lora": {"rank": 2, "targets": ["attn.o"]}},
        "rows": {"train": ["embed[3, 5:8]", "norm@-1"]},
    }
    save = {"part": "all", "embed": "all", "lora": "model", "rows": "all"}
    return keep_run(tmp_path_factory.mktemp("fused"), "gpt2", arms=arms, seeds=[0], save=save)

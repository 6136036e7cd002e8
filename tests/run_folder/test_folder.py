"""What lies where in a run folder: everything in a place of its own."""

from __future__ import annotations

from pathlib import Path

from frostline.run_folder import saved_model_folder

RUN = Path("run")


def test_a_trained_model_is_called_after_variant_and_arm() -> None:
    assert saved_model_folder(RUN, "", "half-lora") == RUN / "checkpoints" / "half-lora"
    named = saved_model_folder(RUN, "corpus.tokens=1000", "full")
    assert named == RUN / "checkpoints" / "corpus.tokens=1000-full"


def test_no_two_trained_models_have_one_folder() -> None:
    places = [
        ("corpus.source=\u043a\u043e\u0442.txt", "full"),
        ("corpus.source=\u043f\u0451\u0441.txt", "full"),
        ("corpus.source=a/b.txt", "full"),
        ("corpus.source=a-b.txt", "full"),
        ("corpus.source=a b.txt", "full"),
        ("corpus.source=a", "b-c"),
        ("corpus.source=a-b", "c"),
        *((f"corpus.source={'x' * 400}{end}", "full") for end in "ab"),
    ]
    found = {saved_model_folder(RUN, variant, arm).name for variant, arm in places}
    assert len(found) == len(places)
    assert all(name.isascii() and len(name) <= 255 and "/" not in name for name in found)

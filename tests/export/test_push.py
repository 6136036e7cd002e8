"""What is pushed to the hub is the exported folder, and only where it was asked for. A server stands for the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from frostline.errors import FrostlineError
from tests.builders.exports import exported
from tests.builders.push_server import PushServer, push_server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PushServer]:
    """A hub, and a token for it."""
    with push_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


@pytest.mark.parametrize(("arm", "kind"), [("freeze", "folder"), ("freeze", "patch"), ("lora", "adapter")])
def test_every_file_arrives_in_a_private_repository(
    narrow: Path, tmp_path: Path, hub: PushServer, arm: str, kind: str
) -> None:
    found = exported(narrow, arm, kind, tmp_path / "out", push="owner/tiny")
    assert found.pushed == f"{hub.address}/owner/tiny"
    assert hub.files == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert [own.get("visibility", own.get("private")) for own in hub.created] in (["private"], [True])
    assert hub.tokens == {"Bearer hf_secret"}


def test_a_push_that_fails_leaves_the_export_and_says_how_to_push_it(
    fused: Path, tmp_path: Path, hub: PushServer
) -> None:
    hub.refuses = 413
    with pytest.raises(FrostlineError, match=r"not pushed to 'owner/tiny'.*hf upload owner/tiny"):
        exported(fused, "part", "patch", tmp_path / "out", push="owner/tiny", public=True)
    assert (tmp_path / "out" / "patch.safetensors").is_file()
    assert [own.get("visibility", own.get("private")) for own in hub.created] in (["public"], [False])


@pytest.mark.parametrize(
    ("repository", "token", "words"),
    [("owner/tiny", "", "without a token"), ("owner/tiny/more", "hf_secret", "no name of a repository")],
)
def test_what_cannot_be_pushed_is_told_before_anything_is_written(
    fused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: str, token: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(FrostlineError, match=words):
        exported(fused, "part", "patch", tmp_path / "out", push=repository)
    assert not (tmp_path / "out").exists()


def test_nothing_is_sent_unless_it_is_asked_for(fused: Path, tmp_path: Path, hub: PushServer) -> None:
    exported(fused, "part", "patch", tmp_path / "out")
    assert not hub.created
    assert not hub.files
    assert not hub.tokens

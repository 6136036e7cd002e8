"""What `--on` may say, and what is told of anything else before anything is run."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import FrostlineError, MissingExtraError, RecipeError
from frostline.launch import ray_address
from frostline.launch import where as where_module
from frostline.launch.ray_cluster import Node, needs_of
from frostline.recipe import Recipe, parse_recipe
from tests.cli.test_app import frostline


@pytest.fixture
def ray_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def answering(question: str) -> Iterator[str]:
    """The address of a server that answers `question` of gRPC, and no other."""
    grpc: Any = pytest.importorskip("grpc")

    class Answers(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC has no types
        def service(self, asked: object) -> object:
            handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
            return handler if getattr(asked, "method", "") == question else None

    server = grpc.server(ThreadPoolExecutor(1), handlers=(Answers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.usefixtures("ray_is_there")
def test_ray_is_this_machine_or_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_address("ray").is_local
    with answering(where_module.ASKS_HEAD) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert ray_address("ray").address == address
        assert ray_address("ray").on == "ray"
        assert ray_address(f"ray://{address}").address == ray_address(f"ray://{address}").on == f"ray://{address}"
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(FrostlineError, match=r"RAY_ADDRESS: nobody answers at '127\.0\.0\.1"):
        ray_address("ray")


@pytest.mark.usefixtures("ray_is_there")
@pytest.mark.parametrize(
    ("on", "told"),
    [
        ("rya", "'rya' is no place to run on. Did you mean 'ray'?"),
        ("kubernetes", "'kubernetes' is no place to run on. Use 'ray' for this machine"),
        ("ray://", "'ray://' is no address"),
        ("ray://host", "'ray://host' is no address"),
        ("ray://host:port", "is no address"),
        ("ray://host:99999", "is no address"),
        ("ray://host:²", "is no address"),
        ("ray://a..b:10001", "'ray://a..b:10001' is no address"),
    ],
)
def test_an_unknown_place_is_one_sentence(on: str, told: str) -> None:
    with pytest.raises(FrostlineError) as error:
        ray_address(on)
    assert told in str(error.value)


@pytest.mark.usefixtures("ray_is_there")
def test_an_address_that_nobody_answers_at_is_one_sentence() -> None:
    with pytest.raises(
        FrostlineError, match=r"--on: nobody answers at 'ray://127\.0\.0\.1:\d+' \(connection refused\)"
    ):
        ray_address(f"ray://127.0.0.1:{free_port()}")


@pytest.mark.usefixtures("ray_is_there")
def test_what_is_no_head_of_a_cluster_is_one_sentence_that_names_the_way_of_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("grpc")
    monkeypatch.setattr(where_module, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, answering("another question") as clients:
        for address in (f"127.0.0.1:{silent.getsockname()[1]}", clients):
            monkeypatch.setenv("RAY_ADDRESS", address)
            with pytest.raises(FrostlineError) as raised:
                ray_address("ray")
            assert f"RAY_ADDRESS: what answers at '{address}' is no head of a Ray cluster" in str(raised.value)
            assert f"use 'ray://{address}'" in str(raised.value)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"frostline\[ray\]"):
        ray_address("ray")


NODES = [Node("a", 2.0, 0.0, 4e9), Node("b", 8.0, 1.0, 2e9)]


def recipe_asking(**resources: float) -> Recipe:
    return parse_recipe(f"arms: {{full: {{train: all}}}}\ntraining: {{device: cpu}}\nresources: {dict(resources)}\n")


def test_a_unit_takes_what_the_recipe_says_or_as_many_cores_as_threads() -> None:
    assert needs_of(recipe_asking(), NODES, 4).options == {"num_cpus": 4, "num_gpus": 0.0}
    assert needs_of(recipe_asking(), NODES, 64).cpus == 8
    needs = needs_of(recipe_asking(cpus=2, gpus=0.5, memory_gb=1.5), NODES, 4)
    assert needs.options == {"num_cpus": 2, "num_gpus": 0.5, "memory": 1_500_000_000}
    with_gpu = parse_recipe("arms: {full: {train: all}}\n")
    assert needs_of(with_gpu, NODES, 1).gpus == 1
    assert needs_of(with_gpu, NODES[:1], 1).gpus == 0


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        (
            {"cpus": 9},
            "recipe:3, key 'resources.cpus': a unit asks for 9 cores, and the largest machine of the cluster has 8.",
        ),
        ({"gpus": 2}, "key 'resources.gpus': a unit asks for 2 GPUs, and the largest machine of the cluster has 1."),
        ({"memory_gb": 5}, "a unit asks for 5 GB, and the largest machine of the cluster has 4."),
        ({"cpus": 4, "memory_gb": 3}, "no machine of the cluster has 4 cores, 0 GPUs and 3 GB at once."),
    ],
)
def test_more_than_any_machine_has_is_refused(resources: dict[str, float], told: str) -> None:
    with pytest.raises(RecipeError) as error:
        needs_of(recipe_asking(**resources), NODES, 1)
    assert told in str(error.value)


@pytest.mark.usefixtures("ray_is_there")
@pytest.mark.parametrize("command", ["run", "advise"])
def test_commands_tell_it_before_anything_is_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (command, "demo", "--out", str(tmp_path / "there"), "--on")
    assert frostline(*arguments, "rya", monkeypatch=monkeypatch) == 2
    assert "Did you mean 'ray'?" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert frostline(*arguments, "ray", monkeypatch=monkeypatch) == 2
    assert "frostline[ray]" in capsys.readouterr().err
    assert not (tmp_path / "there").exists()

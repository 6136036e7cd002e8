"""Limits are read with their units; what cannot be read is one sentence with examples."""

from __future__ import annotations

import pytest

from frostline.advisor.budget import UNLIMITED, Budget, Needs, parse_budget
from frostline.errors import RecipeError


def test_limits_are_read_with_their_units() -> None:
    assert parse_budget([]) == UNLIMITED
    assert parse_budget(["time=40%", "memory = 8GB", "parameters=2.5 %"]) == Budget(0.4, 8_000_000_000, 0.025)
    assert parse_budget(["memory=512MB"]).memory_bytes == 512_000_000
    assert parse_budget(["time=40%", "memory=8GB"]).text == "time=40%, memory=8GB"
    assert UNLIMITED.text == "none"


@pytest.mark.parametrize(
    "text",
    ["time", "time=", "time=40", "memory=8", "memory=40%", "speed=40%", "time=0%", "memory=-1GB", "=", "time=4e1%"],
)
def test_what_is_not_understood_is_told_with_examples(text: str) -> None:
    with pytest.raises(RecipeError, match="--budget ") as caught:
        parse_budget([text])
    assert "memory=8GB" in str(caught.value)


def test_a_limit_given_twice_is_told() -> None:
    with pytest.raises(RecipeError, match="'time' is given twice"):
        parse_budget(["time=40%", "time=50%"])


def test_what_a_plan_exceeds_is_named() -> None:
    budget = Budget(time=0.4, memory_bytes=2_000_000_000, parameters=0.1)
    assert budget.exceeded(Needs(time=0.4, memory_bytes=2_000_000_000, parameters=0.1)) == []
    needs = Needs(time=0.5, memory_bytes=3_000_000_000, parameters=0.2)
    assert budget.exceeded(needs) == ["50 % of full training's time", "3 GB of memory", "20 % of the parameters"]
    assert budget.excess(needs) == pytest.approx(2.0)
    assert Budget(memory_bytes=2_000_000_000).exceeded(needs) == ["3 GB of memory"]


@pytest.mark.parametrize(
    ("needs", "limits"),
    [
        (Needs(0.3621, 1_241_000_000, 0.00034), ["time=37%", "memory=1.3GB", "parameters=0.034%"]),
        (Needs(0.9999, 128_400_000_000, 0.0998), ["time=100%", "memory=129GB", "parameters=10%"]),
        (Needs(0.4, 8_000_000_000, 0.05), ["time=40%", "memory=8GB", "parameters=5%"]),
    ],
)
def test_a_limit_of_what_a_plan_is_said_to_need_is_kept(needs: Needs, limits: list[str]) -> None:
    told = [phrase.split(" ")[0] for phrase in needs.phrases]
    assert told == [limit.split("=")[1].rstrip("%GB") for limit in limits]
    assert parse_budget(limits).exceeded(needs) == []

"""Roles that stand for others stand for roles."""

from __future__ import annotations

from frostline.recipe import GROUP_ROLES, LEAF_ROLES, ROLES


def test_group_roles_consist_of_leaf_roles() -> None:
    assert set(GROUP_ROLES["all"]) == set(LEAF_ROLES)
    assert set(ROLES) == set(LEAF_ROLES) | set(GROUP_ROLES)
    assert all(set(leaves) <= set(LEAF_ROLES) for leaves in GROUP_ROLES.values())

"""What may a weight do in a model? The roles that selectors name; `plans` finds which weight plays which."""

from __future__ import annotations

LEAF_ROLES = (
    "embed",
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.o",
    "attn",
    "mlp.gate",
    "mlp.up",
    "mlp.down",
    "mlp",
    "norm",
    "bias",
    "head",
)
"""Every weight has exactly one of these. Plain `attn` and `mlp` are what no finer one fits, such as a router."""
GROUP_ROLES: dict[str, tuple[str, ...]] = {
    "all": LEAF_ROLES,
    "attn": ("attn.q", "attn.k", "attn.v", "attn.o", "attn"),
    "attn.qkv": ("attn.q", "attn.k", "attn.v"),
    "mlp": ("mlp.gate", "mlp.up", "mlp.down", "mlp"),
}
"""Roles that stand for several leaf roles. Biases belong to none of them but `all`: their role is `bias`."""
ROLES = ("all", *(role for role in LEAF_ROLES[:6]), "attn.qkv", *LEAF_ROLES[6:])
"""Every role that a selector may name."""
LAYERED_ROLES = tuple(role for role in ROLES if role not in ("embed", "head"))
"""Roles that live in the decoder layers (`all`, `norm` and `bias` outside them too)."""

"""What did the user ask for? Settings, YAML with overrides, the shipped recipes."""

from frostline.recipe.load import (
    Variant,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_hash,
    trusting,
    validate_recipe,
    variants_of,
)
from frostline.recipe.settings import (
    EMBEDDED,
    ArmSettings,
    ChangeSettings,
    CheckpointSettings,
    CorpusSettings,
    LoraSettings,
    MeasureSettings,
    ModelSettings,
    PrefixCacheSettings,
    Recipe,
    SamplingSettings,
    TrainingSettings,
    WindowSettings,
)
from frostline.recipe.shipped import copy_recipe, shipped_recipes
from frostline.recipe.source import RecipeSource

__all__ = [
    "EMBEDDED",
    "ArmSettings",
    "ChangeSettings",
    "CheckpointSettings",
    "CorpusSettings",
    "LoraSettings",
    "MeasureSettings",
    "ModelSettings",
    "PrefixCacheSettings",
    "Recipe",
    "RecipeSource",
    "SamplingSettings",
    "TrainingSettings",
    "Variant",
    "WindowSettings",
    "copy_recipe",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_hash",
    "shipped_recipes",
    "trusting",
    "validate_recipe",
    "variants_of",
]

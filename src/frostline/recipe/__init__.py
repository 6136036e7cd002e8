"""What did the user ask for? Settings, YAML with overrides, the shipped recipes."""

from frostline.recipe.load import (
    RecipeSource,
    Variant,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_hash,
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
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_hash",
    "variants_of",
]

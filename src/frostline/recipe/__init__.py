"""What did the user ask for? Settings, the language of plans, YAML with overrides, the shipped recipes."""

from frostline.recipe.arms import ArmSettings, ChangeSettings, LoraSettings
from frostline.recipe.fields import BEST, Best
from frostline.recipe.given import GivenRecipe, given_recipe
from frostline.recipe.inspected import inspected_recipe
from frostline.recipe.load import (
    Overrides,
    Variant,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_hash,
    trusting,
    variants_of,
    with_absolute_paths,
    without_number,
)
from frostline.recipe.model_source import loading_judge, model_folder, require_corpus, require_model, similar_name
from frostline.recipe.place import PLACE_FILE, Place, place_content
from frostline.recipe.plan import PlanChange, WrittenPlan
from frostline.recipe.roles import GROUP_ROLES, LEAF_ROLES, ROLES
from frostline.recipe.selectors import Bound, Choice, LayerSlice, Selector, parse_selector, parse_selectors
from frostline.recipe.settings import Recipe
from frostline.recipe.shipped import copy_recipe, recipe_schema, schema_text, shipped_recipes
from frostline.recipe.signal_names import CHOOSING_SIGNALS, RANDOM, SIGNALS, require_choosing_signal, require_signal
from frostline.recipe.source import RecipeSource
from frostline.recipe.sources import EMBEDDED, HUB_PREFIX, CorpusSettings, ModelSettings, is_template_file
from frostline.recipe.token_rows import ROW_ROLES, TokenRange, TokenRows
from frostline.recipe.training import (
    CheckpointSettings,
    MeasureSettings,
    PrefixCacheSettings,
    ResourceSettings,
    SamplingSettings,
    TrainingSettings,
    WindowSettings,
)

__all__ = [
    "BEST",
    "CHOOSING_SIGNALS",
    "EMBEDDED",
    "GROUP_ROLES",
    "HUB_PREFIX",
    "LEAF_ROLES",
    "PLACE_FILE",
    "RANDOM",
    "ROLES",
    "ROW_ROLES",
    "SIGNALS",
    "ArmSettings",
    "Best",
    "Bound",
    "ChangeSettings",
    "CheckpointSettings",
    "Choice",
    "CorpusSettings",
    "GivenRecipe",
    "LayerSlice",
    "LoraSettings",
    "MeasureSettings",
    "ModelSettings",
    "Overrides",
    "Place",
    "PlanChange",
    "PrefixCacheSettings",
    "Recipe",
    "RecipeSource",
    "ResourceSettings",
    "SamplingSettings",
    "Selector",
    "TokenRange",
    "TokenRows",
    "TrainingSettings",
    "Variant",
    "WindowSettings",
    "WrittenPlan",
    "copy_recipe",
    "dump_recipe",
    "given_recipe",
    "inspected_recipe",
    "is_template_file",
    "load_recipe",
    "loading_judge",
    "model_folder",
    "parse_recipe",
    "parse_selector",
    "parse_selectors",
    "place_content",
    "recipe_hash",
    "recipe_schema",
    "require_choosing_signal",
    "require_corpus",
    "require_model",
    "require_signal",
    "schema_text",
    "shipped_recipes",
    "similar_name",
    "trusting",
    "variants_of",
    "with_absolute_paths",
    "without_number",
]

"""What does a user take away? A trained model as a folder, as a patch of its base, or as an adapter."""

from frostline.export.applying import put_patch
from frostline.export.exporting import DType, Exported, Kind, Wish, export_arm
from frostline.export.kept import Choice

__all__ = ["Choice", "DType", "Exported", "Kind", "Wish", "export_arm", "put_patch"]

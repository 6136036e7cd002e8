"""Where are the files that a recipe names? Beside the recipe: paths in it are relative to its folder.

A recipe keeps paths as they were written, so that what is made of it (run folder, report, summary) names files as its
writer does, and goes on where all of it was moved. Beside the copy of a recipe in a run folder, the place file
`frostline-place.json` says where the recipe's folder is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from frostline.errors import RecipeError
from frostline.text import home_folder

PLACE_FILE = "frostline-place.json"
_FROM_HERE, _OF_OLDER_VERSIONS = "recipe_folder", "recipe_folder_when_written"


@dataclass(frozen=True)
class Place:
    """The folder of a recipe; None for the present folder. What a recipe says does not depend on it: all are equal."""

    folder: Path | None = field(default=None, compare=False)

    def path_of(self, written: str) -> Path:
        """The path that was written so. Raises `RecipeError` where it is in a home folder and there is none."""
        try:
            path = Path(written).expanduser()
        except RuntimeError as error:
            raise RecipeError(
                f"there is no home folder in which '{written}' could be.", "Write the path out."
            ) from error
        return path if self.folder is None else self.folder / path


def places_of(recipe_file: Path) -> list[Place]:
    """What the paths in `recipe_file` may be relative to: its folder, or those that the place file beside it names.

    The first one is right where all was moved together. A second one, that older versions wrote, is where the recipe
    was when the run began.
    """
    beside = recipe_file.resolve().parent
    try:
        known = json.loads((beside / PLACE_FILE).read_text(encoding="utf-8"))
        written = [str(known[_FROM_HERE]), *(str(known[key]) for key in (_OF_OLDER_VERSIONS,) if key in known)]
        return [Place(Path(os.path.normpath(beside / _at_home(folder)))) for folder in written]
    except OSError:
        return [Place(beside)]
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{beside / PLACE_FILE}: it does not say where the recipe's folder is.") from error


def place_content(run_folder: Path, place: Place) -> bytes:
    """What the place file in `run_folder` says of a recipe in `place`; whoever is given the folder reads no home in it.

    The way is from the run folder; from the home folder, `~`, where the way from the run folder would lead into that.
    """
    folder, here = (place.folder or Path.cwd()).resolve(), run_folder.resolve()
    home = home_folder()
    if home is not None and folder.is_relative_to(home) and not here.is_relative_to(home):
        written = str(Path("~") / folder.relative_to(home))
    else:
        written = os.path.relpath(folder, here)
        if written.partition("/")[0] == "~":  # a folder of that name
            written = f"./{written}"
    return json.dumps({_FROM_HERE: written}).encode()


def _at_home(written: str) -> Path:
    """The folder that was written so; one in the home folder of a user who has none now is nowhere."""
    first, _, rest = written.partition("/")
    home = home_folder() if first == "~" else None
    return Path(written) if home is None else home / rest

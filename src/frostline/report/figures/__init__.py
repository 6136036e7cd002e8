"""How is each result drawn? Pure functions from frames to altair charts, one module a theme."""

from frostline.cache import naming_some_home

with naming_some_home():
    import altair  # noqa: F401  # on import it asks for a home folder, in which it would keep what is never used here

"""How is each result drawn? Pure functions from frames to altair charts, one module a theme."""

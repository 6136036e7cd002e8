"""Commands: parse, call, print; nothing else. Everything heavy is imported by the command that needs it."""

from frostline.cli.app import main

__all__ = ["main"]

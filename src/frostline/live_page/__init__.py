"""How does a person watch a run in a browser? A server of this machine's own, which follows the journal."""

from frostline.live_page.beside import page_beside
from frostline.live_page.folder import WatchedFolder, watched_folder
from frostline.live_page.serve import address_of, bound_socket, how_to_enter, new_token, require_server, serve

__all__ = [
    "WatchedFolder",
    "address_of",
    "bound_socket",
    "how_to_enter",
    "new_token",
    "page_beside",
    "require_server",
    "serve",
    "watched_folder",
]

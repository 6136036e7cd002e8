"""Who keeps a picture up to date? One task for each run that someone looks at, and none where nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from frostline.live_page.picture import RunPicture

EVERY_SECONDS = 1.0
"""Between two looks at a journal: as often as one reads a number, and seldom enough to cost nothing."""
MOST_PICTURES = 8
"""Pictures of runs that nobody looks at any more, kept for whoever comes back."""


class Pictures:
    """The pictures of all runs that are looked at."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self.every_seconds = every_seconds
        self._pictures: dict[Path, RunPicture] = {}
        self._lookers: dict[Path, int] = {}
        self._tasks: dict[Path, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def of(self, folder: Path) -> AsyncIterator[RunPicture]:
        """The picture of the run in `folder`, kept up to date as long as the block lasts."""
        picture = self._pictures.pop(folder, None) or RunPicture(folder)
        self._pictures[folder] = picture
        self._lookers[folder] = self._lookers.get(folder, 0) + 1
        for other in [own for own in self._pictures if not self._lookers.get(own)][:-MOST_PICTURES]:
            del self._pictures[other]
        if folder not in self._tasks:
            self._tasks[folder] = asyncio.create_task(self._keep_up(folder, picture))
        try:
            yield picture
        finally:
            self._lookers[folder] -= 1
            if not self._lookers[folder]:
                del self._lookers[folder]
                self._tasks.pop(folder).cancel()

    async def _keep_up(self, folder: Path, picture: RunPicture) -> None:
        while True:
            more = await asyncio.to_thread(picture.look)
            if not more:
                await asyncio.sleep(self.every_seconds)

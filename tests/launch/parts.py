"""An experiment done in parts by this process, as machines of a cluster would do them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from frostline.experiment import Head, Part, write_recipe
from frostline.launch.part_folder import Beginning, part_folder, read_done, unpack, without_end
from frostline.launch.part_work import Answer, Order, do_part, this_machine
from frostline.launch.taking_in import add_to_run_file, take_in
from frostline.machine import describe_machine
from frostline.progress import UnitState
from frostline.recipe import Recipe, dump_recipe
from frostline.run_folder import RUN_FILE, read_lines
from frostline.storage import replace_file


class Parts:
    """One experiment, its run folder, and what is told of its parts."""

    def __init__(self, recipe: Recipe, run_folder: Path, cache: Path, *, shared: bool = True) -> None:
        self.recipe, self.run_folder, self.cache, self.shared = recipe, run_folder, cache, shared
        self.told: list[UnitState] = []
        self.stops_after: int | None = None
        """Steps of a part after which it is asked to save and stop."""
        cache.mkdir(exist_ok=True)
        (run_folder / "units").mkdir(parents=True)
        (run_folder / "units" / "witness").write_text("here")

    def order(self, part: Part, **changes: object) -> Order:
        own = Order(
            part=part,
            attempt=0,
            run_folder=str(self.run_folder),
            witness=("units/witness", "here" if self.shared else "elsewhere"),
            recipe=dump_recipe(self.recipe),
            recipe_folder=str(self.recipe.place.folder),
            trusted_code=None,
            threads=1,
            machine={**describe_machine(), "torch threads": "1"},
            cache=(str(self.cache), this_machine()),
        )
        return replace(own, **changes)  # type: ignore[arg-type]  # of any type

    def do(self, part: Part, **changes: object) -> Answer:
        beginning = None if isinstance(part, Head) else self.beginning()
        return do_part(self.order(part, **changes), beginning, self.tell, "node")

    def tell(self, state: UnitState) -> bool:
        self.told.append(state)
        return self.stops_after is not None and state.steps >= self.stops_after

    def beginning(self) -> Beginning:
        lines = without_end(read_lines(self.run_folder, RUN_FILE)[0])
        return Beginning((self.run_folder / "experiment.yaml").read_bytes(), lines)

    def begin(self, head: Head | None = None, *, fresh: bool = False) -> None:
        """Do the head, and begin the run with it."""
        head = head or Head()
        answer = self.do(head, fresh=fresh)
        assert answer.error is None, answer.error
        self.receive(head, answer)
        done = read_done(part_folder(self.run_folder, "head"))
        assert done is not None
        write_recipe(self.run_folder, self.recipe)
        (self.run_folder / "journal").mkdir(exist_ok=True)
        for name, content in done.journals.items():
            replace_file(self.run_folder / "journal" / name, content)
        add_to_run_file(self.run_folder, self.recipe, done.lines)

    def do_all(self, parts: Sequence[Part]) -> None:
        for part in parts:
            answer = self.do(part)
            assert answer.status == "finished", answer.error
            self.receive(part, answer)
            assert take_in(self.run_folder, self.recipe, part) is not None

    def receive(self, part: Part, answer: Answer) -> None:
        if answer.files is not None:
            unpack(part_folder(self.run_folder, part.name), answer.files)

    def end(self) -> None:
        line: dict[str, object] = {"kind": "RunEnded", "status": "finished", "at": "", "seconds": 1.0}
        add_to_run_file(self.run_folder, self.recipe, [line])


def raw_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

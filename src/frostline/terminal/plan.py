"""What does a plan look like? The table and the picture of layers x roles that `frostline plan` prints for each arm.

The picture is read like the model: the head on top, the embeddings at the bottom, the frost line between suffix and
prefix. It needs 80 columns, no colour, and falls back to plain ASCII where the terminal has nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from io import StringIO

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from frostline.arms import PlannedArm
from frostline.forecast import PlannedVariant
from frostline.plans import Phase, PlanCost, Portion, ResolvedPlan, ceiling_sentence
from frostline.readable import percent
from frostline.recipe import BEST

COLLAPSE_ABOVE_LAYERS = 16
TRAINED, PARTLY, FROZEN, ADAPTER = "trained", "partly", "frozen", "adapter"
GLYPHS = {TRAINED: ("█", "#"), PARTLY: ("▒", "+"), FROZEN: ("·", "."), ADAPTER: ("◆", "@")}
"""Each state as drawn, and in ASCII."""
STYLES = {TRAINED: "bold cyan", PARTLY: "cyan", FROZEN: "dim", ADAPTER: "bold magenta"}
ATTENTION_COLUMNS = ("attn.q", "attn.k", "attn.v", "attn.o", "attn")
MLP_COLUMNS = ("mlp.gate", "mlp.up", "mlp.down", "mlp")
COLUMNS = ("embed", *ATTENTION_COLUMNS, *MLP_COLUMNS, "norm", "bias", "head")
"""Leaf roles in the order in which they are drawn; `attn` and `mlp` alone are what has no finer role."""
LABEL_WIDTH = 8
TEXT_WIDTH = 100
"""Columns of a drawing that goes into a page."""


@dataclass(frozen=True)
class DrawnRow:
    """One layer of the drawing, or a run of equal ones."""

    label: str
    """`12`, `0-11`, or `head` and `embed` for what is above and below the layers."""
    lowest_layer: int
    """-1 for what is below the layers."""
    cells: dict[str, str]
    """State of each role that the layer has: `trained`, `partly`, `frozen` or `adapter`."""


def drawn_rows(resolved: ResolvedPlan, *, collapse: bool = True) -> list[DrawnRow]:
    """The drawing's rows from the head down to the embeddings, as they are at the first step.

    With `collapse`, neighbouring layers that look the same share a row where the model has more than 16 layers.
    """
    active = {portion.name for portion in resolved.targets} if resolved.lora else set(resolved.trained)
    flags: dict[int, dict[str, list[bool]]] = {}
    for portion in resolved.portions:
        places = [(_height(portion, resolved), portion.role)]
        if portion.role == "embed" and portion.aliases:
            places.append((resolved.layers, "head"))  # a tied head has no parameter of its own
        for height, role in places:
            flags.setdefault(height, {}).setdefault(role, []).append(portion.name in active)
    rows = [
        DrawnRow(
            _label(height, resolved), height, {role: _state(found, resolved) for role, found in flags[height].items()}
        )
        for height in sorted(flags, reverse=True)
    ]
    return _collapsed(rows) if collapse and resolved.layers > COLLAPSE_ABOVE_LAYERS else rows


def draw_plans(planned: Sequence[PlannedVariant]) -> list[RenderableType]:
    """Every arm of every variant, one after another."""
    return [draw_plan(arm.resolved, arm.cost, title, raced=arm.raced) for title, arm in _titled(planned)]


def plans_as_json(planned: Sequence[PlannedVariant]) -> list[dict[str, object]]:
    """The same as plain values that `json.dumps` takes."""
    return [
        plan_as_json(arm.resolved, arm.cost, title) | {"learning_rate": BEST if arm.raced else arm.learning_rate}
        for title, arm in _titled(planned)
    ]


def _titled(planned: Sequence[PlannedVariant]) -> Iterator[tuple[str, PlannedArm]]:
    for variant in planned:
        for name, arm in variant.arms.items():
            remarks = [variant.variant] if variant.variant else []
            remarks += [f"as drawn for seed {variant.drawn[name]}"] if name in variant.drawn else []
            yield f"{name} ({', '.join(remarks)})" if remarks else name, arm


def draw_plan(resolved: ResolvedPlan, cost: PlanCost, name: str, *, raced: bool = False) -> RenderableType:
    """Everything that `frostline plan` says about the arm `name`, ready for `rich.print`.

    `raced`: whether its learning rate comes of a race.
    """
    return _Drawing(resolved, cost, name, raced)


def plan_as_text(arm: PlannedArm) -> str:
    """What trains in `arm`, drawn in letters alone, for a page that shows text as it is."""
    drawn = StringIO()
    console = Console(file=drawn, width=TEXT_WIDTH, color_system=None, force_terminal=False)
    console.print(Text(arm.resolved.text), *_facts_of_training(arm.resolved), "", sep="\n")
    console.print(*_picture(arm.resolved, ascii_only=False), sep="\n")
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def plan_as_json(resolved: ResolvedPlan, cost: PlanCost, name: str) -> dict[str, object]:
    """The same as plain values that `json.dumps` takes; every layer has a row of its own."""
    return {
        "arm": name,
        "plan": resolved.text,
        "parameters": resolved.parameters,
        "trained_parameters": resolved.trained_values,
        "layers": resolved.layers,
        "prefix_layers": resolved.prefix_layers,
        "tied": [list(names) for names in resolved.tied],
        "selectors": [
            {
                "selector": match.selector,
                "verb": match.verb,
                "from_step": match.at,
                "matrices": len(match.portions),
                "values": sum(portion.values for portion in match.portions),
                "names": [portion.name for portion in match.portions],
            }
            for match in resolved.matches
        ],
        "phases": [
            {
                "from_step": phase.at,
                "trained_parameters": _trained_values(resolved, phase),
                "prefix_layers": phase.prefix_layers,
            }
            for phase in resolved.phases
        ],
        "partly_trained": list(resolved.partly_trained()),
        "cost": asdict(cost),
        "ceiling_sentence": ceiling_sentence(cost, resolved),
        "rows": [{"layer": row.label, "roles": row.cells} for row in drawn_rows(resolved, collapse=False)],
    }


@dataclass(frozen=True)
class _Drawing:
    """Chooses its characters when it is printed: only then is the terminal known."""

    resolved: ResolvedPlan
    cost: PlanCost
    name: str
    raced: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text.assemble((self.name, "bold"), ": ", self.resolved.text)
        yield _matches_table(self.resolved)
        yield from _facts(self.resolved, self.cost)
        if self.raced:
            yield Text("rate   best (raced before the run)")
        yield Text()
        yield Group(*_picture(self.resolved, ascii_only=options.ascii_only))


def _matches_table(resolved: ResolvedPlan) -> Table:
    timed = any(match.at for match in resolved.matches)
    table = Table(show_edge=False, pad_edge=False, header_style="dim")
    table.add_column("selector", overflow="fold")
    if timed:
        table.add_column("step", justify="right")
    table.add_column("matched", justify="right")
    table.add_column("values", justify="right")
    table.add_column("first and last", overflow="fold")
    for match in resolved.matches:
        names = [_short_name(portion) for portion in match.portions]
        cells = [f"{match.verb} {match.selector}"]
        cells += [f"{match.at:,}"] if timed else []
        cells += [f"{len(names):,}", f"{sum(portion.values for portion in match.portions):,}"]
        cells += ["\n".join(names if len(names) < 3 else [names[0], names[-1]])]
        table.add_row(*(Text(cell) for cell in cells))  # as Text: a name such as c_attn.weight[attn.q] is no markup
    return table


def _short_name(portion: Portion) -> str:
    """A parameter's name without the path to its layer, so that it fits; `plan_as_json` has the names in full."""
    path, within, rest = portion.name.partition(f".{portion.layer}.")
    return f"layer {portion.layer}: {rest}" if within else path


def _facts_of_training(resolved: ResolvedPlan) -> Iterator[Text]:
    adapters = " in adapters" if resolved.lora is not None else ""
    yield Text(f"trains {_of_model(resolved.trained_values, resolved)}{adapters}")
    yield Text(f"prefix {resolved.prefix_layers} of {resolved.layers} layers")
    for names in resolved.tied:
        yield Text("tied   " + " = ".join(names))


def _facts(resolved: ResolvedPlan, cost: PlanCost) -> Iterator[Text]:
    yield from _facts_of_training(resolved)
    at_first = "at the first step: " if len(resolved.phases) > 1 else ""
    yield Text(at_first + ceiling_sentence(cost, resolved))
    for phase in resolved.phases[1:]:
        yield Text(f"from step {phase.at:,}: {_change(resolved, phase)}")


def _change(resolved: ResolvedPlan, phase: Phase) -> str:
    done = ", ".join(f"{match.verb} {match.selector}" for match in resolved.matches if match.at == phase.at)
    trained = _of_model(_trained_values(resolved, phase), resolved)
    return f"{done}; then trains {trained}, prefix {phase.prefix_layers} of {resolved.layers} layers"


def _picture(resolved: ResolvedPlan, *, ascii_only: bool) -> Iterator[Text]:
    rows = drawn_rows(resolved)
    columns = [role for role in COLUMNS if any(role in row.cells for row in rows)]
    yield from _headings(columns)
    for index, row in enumerate(rows):
        line = Text(f"{row.label:>{LABEL_WIDTH - 2}}  ")
        for role in columns:
            state = row.cells.get(role)
            glyph = GLYPHS[state][ascii_only] if state is not None else " "
            line.append(f"{glyph * 2 if state == TRAINED else glyph:^{_width(role)}}", STYLES.get(state or "", ""))
        line.rstrip()
        yield line
        below = rows[index + 1].lowest_layer if index + 1 < len(rows) else -1
        if resolved.prefix_layers and row.lowest_layer >= resolved.prefix_layers > below:
            yield _frost_line(resolved.prefix_layers, LABEL_WIDTH + sum(map(_width, columns)))
    shown = {state for row in rows for state in row.cells.values()}
    legend = Text(" " * LABEL_WIDTH)
    for state in (TRAINED, PARTLY, ADAPTER, FROZEN):
        if state in shown:
            glyph = GLYPHS[state][ascii_only]
            legend.append(glyph * 2 if state == TRAINED else glyph, STYLES[state]).append(f" {state}   ")
    legend.append("(at the first step)" if len(resolved.phases) > 1 else "")
    legend.rstrip()
    yield legend


def _frost_line(prefix_layers: int, width: int) -> Text:
    layers = "layer 0 below is" if prefix_layers == 1 else f"layers 0-{prefix_layers - 1} below are"
    return Text(f" frost line: {layers} the prefix ".center(width, "~"), "bold blue")


def _headings(columns: list[str]) -> Iterator[Text]:
    """Two lines: `attn` and `mlp` over their roles, and the roles."""
    groups = Text(" " * LABEL_WIDTH)
    for group, members in (("", COLUMNS[:1]), ("attn", ATTENTION_COLUMNS), ("mlp", MLP_COLUMNS)):
        width = sum(_width(role) for role in members if role in columns)
        groups.append(f"{group:^{width}}" if width else "")
    groups.rstrip()
    yield groups
    names = Text(f"{'layer':>{LABEL_WIDTH - 2}}  ")
    for role in columns:
        names.append(f"{_heading(role):^{_width(role)}}")
    names.rstrip()
    yield names


def _heading(role: str) -> str:
    return "else" if role in ("attn", "mlp") else role.rpartition(".")[2]


def _width(role: str) -> int:
    return len(_heading(role)) + 2


def _height(portion: Portion, resolved: ResolvedPlan) -> int:
    if portion.layer is not None:
        return portion.layer
    return -1 if portion.side == "below" else resolved.layers


def _label(height: int, resolved: ResolvedPlan) -> str:
    return "embed" if height < 0 else "head" if height == resolved.layers else str(height)


def _state(active: list[bool], resolved: ResolvedPlan) -> str:
    if not any(active):
        return FROZEN
    if resolved.lora is not None:
        return ADAPTER
    return TRAINED if all(active) else PARTLY


def _collapsed(rows: list[DrawnRow]) -> list[DrawnRow]:
    kept: list[DrawnRow] = []
    for row in rows:
        if kept and row.label.isdigit() and kept[-1].label[0].isdigit() and row.cells == kept[-1].cells:
            highest = kept[-1].label.rpartition("-")[2]
            kept[-1] = replace(kept[-1], label=f"{row.label}-{highest}", lowest_layer=row.lowest_layer)
        else:
            kept.append(row)
    return kept


def _trained_values(resolved: ResolvedPlan, phase: Phase) -> int:
    if resolved.lora is not None:
        return resolved.trained_values
    return sum(portion.values for portion in resolved.portions if portion.name in phase.trained)


def _of_model(values: int, resolved: ResolvedPlan) -> str:
    share = values / resolved.parameters
    portion = percent(share) if share >= 0.0005 or not values else "less than 0.1 %"
    return f"{values:,} of {resolved.parameters:,} values ({portion})"

"""What happened, in a sentence? The records that a person wants to be told of, as messages of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from frostline.readable import UNKNOWN, count, gigabytes, learning_rate, plural, seconds

Values = Mapping[str, object]
"""A line of the journal."""


def sentence_of(values: Values) -> tuple[str, str] | None:
    """The message of a record, and `alert` where it is bad news, else ''; None for what is no news by itself."""
    write = _SENTENCES.get(str(values.get("kind")))
    return None if write is None else write(values)


def _number(values: Values, name: str) -> float:
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else float("nan")


def _whole(values: Values, name: str) -> int:
    value = values.get(name)
    return int(value) if isinstance(value, int | float) else 0


def _rate(values: Values) -> str:
    value = _number(values, "learning_rate")
    return learning_rate(value) if math.isfinite(value) else UNKNOWN


def _who(values: Values) -> str:
    variant = f"{values.get('variant')}, " if values.get("variant") else ""
    return f"{variant}{values.get('arm')}, seed {values.get('seed')}"


def _begun(values: Values) -> tuple[str, str]:
    return f"The run began: Frostline {values.get('frostline_version')}.", ""


def _resumed(values: Values) -> tuple[str, str]:
    changes = values.get("changes")
    listed = "; ".join(map(str, changes)) if isinstance(changes, list) else ""
    return f"It went on under other conditions: {listed}.", "alert"


def _prepared(values: Values) -> tuple[str, str]:
    corpus = values.get("corpus")
    text = corpus.get("description") if isinstance(corpus, dict) else ""
    what = f"{values.get('variant')}: " if values.get("variant") else ""
    size = f"{count(_number(values, 'parameters'))} parameters, {plural(_whole(values, 'layers'), 'layer')}"
    return f"{what}{values.get('model')} is ready ({size}), and so is the corpus: {text}.", ""


def _filled(values: Values) -> tuple[str, str]:
    took = seconds(_number(values, "seconds"))
    return f"Layer {_whole(values, 'layer')} was run for {_whole(values, 'windows'):,} windows in {took}.", ""


def _tried(values: Values) -> tuple[str, str]:
    rate, steps = _rate(values), plural(_whole(values, "steps"), "step")
    outcome = "diverged" if values.get("diverged") else f"loss {_number(values, 'loss_nats'):.3f}"
    return f"{values.get('arm')} tried the rate {rate}: {outcome} after {steps}.", ""


def _chosen(values: Values) -> tuple[str, str]:
    return f"{values.get('arm')} trains at {_rate(values)}.", ""


def _started(values: Values) -> tuple[str, str]:
    if values.get("reused_from"):
        return f"{_who(values)}: taken from an earlier run ({values.get('reused_from')}).", ""
    return f"{_who(values)}: training begins.", ""


def _changed(values: Values) -> tuple[str, str]:
    trained = count(_number(values, "trained_parameters"))
    return f"{_who(values)}: from step {_whole(values, 'step') + 1} on {trained} parameters train.", ""


def _peak(values: Values) -> tuple[str, str]:
    return f"{values.get('arm')} alone takes {gigabytes(_number(values, 'peak_bytes'))} at most.", ""


def _checked(values: Values) -> tuple[str, str] | None:
    moved = values.get("moved")
    if not isinstance(moved, list) or not moved:
        return None
    return f"{_who(values)}: frozen weights moved: {', '.join(map(str, moved[:3]))}.", "alert"


def _finished(values: Values) -> tuple[str, str]:
    return f"{_who(values)}: finished after {plural(_whole(values, 'steps'), 'step')}.", ""


def _failed(values: Values) -> tuple[str, str]:
    return f"{_who(values)}: failed after {plural(_whole(values, 'step'), 'step')}: {values.get('cause')}", "alert"


def _ended(values: Values) -> tuple[str, str]:
    how = "finished" if values.get("status") == "finished" else "saved and stopped"
    return f"The run {how} after {seconds(_number(values, 'seconds'))}.", ""


_SENTENCES: dict[str, Callable[[Values], tuple[str, str] | None]] = {
    "RunStarted": _begun,
    "RunResumed": _resumed,
    "VariantPrepared": _prepared,
    "LayerFilled": _filled,
    "RateTried": _tried,
    "RateChosen": _chosen,
    "ArmStarted": _started,
    "PlanChanged": _changed,
    "PeakMemory": _peak,
    "FrozenChecked": _checked,
    "ArmFinished": _finished,
    "ArmFailed": _failed,
    "RunEnded": _ended,
}

"""How does a plan take hold of a model, and how is it proved that nothing frozen moved?

What is frozen is never handed to an optimizer; its bytes are hashed when it is frozen and compared by `verify()`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.plans.adapters import adapter_modules, inject_adapters
from frostline.plans.fused import held_value_of, join_parameter, split_parameter, value_of
from frostline.plans.resolve import require_resolved_for, resolve_plan, select_from
from frostline.plans.still import keep_weights_still
from frostline.plans.types import FrozenCheck, Phase, PlanStep, Portion, ResolvedPlan, Shard
from frostline.recipe import WrittenPlan
from frostline.storage import let_go_of
from frostline.tensor_bytes import byte_chunks, value_type


def apply_plan(
    plan: WrittenPlan,
    model: PreTrainedModel,
    *,
    resolved: ResolvedPlan | None = None,
    seed: int = 0,
    hashed: Mapping[str, str] | None = None,
) -> AppliedPlan:
    """Make `model` train by `plan`, in place; see `Plan.apply`.

    `hashed` has SHA-256 sums of the values of parameters (`tensor_bytes`), by name, taken just now: what is frozen is
    not hashed again.
    """
    if resolved is None:
        resolved = resolve_plan(plan, model)
    else:
        require_resolved_for(plan, model, resolved)
    keep_weights_still(model)
    modules = adapter_modules(model, resolved.targets) if plan.lora is not None else ()
    parameters = dict(model.named_parameters())
    if plan.lora is not None:
        inject_adapters(model, plan.lora, modules, seed=seed)
    partly = set(resolved.partly_trained())
    holders: dict[str, tuple[str, nn.Parameter]] = {}
    for name, portions in _portions_by_parameter(resolved).items():
        if name in partly:
            parts = split_parameter(model, portions)
            holders |= {p.name: (p.name, part) for p, part in zip(portions, parts, strict=True)}
        else:
            holders |= {portion.name: (name, parameters[name]) for portion in portions}
    return AppliedPlan(plan, resolved, model, holders, {} if hashed is None else hashed)


class AppliedPlan:
    """A plan at work on a model. Build the optimizer from `trainable_parameters()`, call `advance` before each step.

    `model` is the model that was given, changed in place: fused matrices may be split and adapters added until
    `release()`.
    """

    def __init__(
        self,
        plan: WrittenPlan,
        resolved: ResolvedPlan,
        model: PreTrainedModel,
        holders: dict[str, tuple[str, nn.Parameter]],
        hashed: Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.resolved = resolved
        self.model = model
        self._holders = holders
        """For each portion the parameter that holds it, and that one's name."""
        self._portions = {portion.name: portion for portion in resolved.portions}
        self._phase = resolved.phases[0]
        self._moved: list[str] = []
        self.released = False
        """Whether `release` was called: the model is a plain one again."""
        self._all_phases_open = False
        self._shards: dict[int, Shard] = {}
        """By the identity of the rows that this process holds."""
        self._set_gradients()
        frozen = [own for name, own in self._portions.items() if name not in self._phase.trained]
        whole = [own for own in frozen if own.indices is None and own.parameter in hashed]
        known = {own.name: bytes.fromhex(hashed[own.parameter]) for own in whole}
        known |= self._hashes_of([own.name for own in frozen if own.name not in known])
        self._hashes = {own.name: known[own.name] for own in frozen}

    @property
    def parameters(self) -> int:
        """Number of values of the model, with adapters if there are any."""
        return sum(map(self._values_of, self.model.parameters()))

    @property
    def trained_parameters(self) -> int:
        """Number of values that train now."""
        return sum(self._values_of(parameter) for _, parameter in self.trainable_parameters())

    @property
    def prefix_layers(self) -> int:
        """Decoder layers below the lowest parameter that trains now."""
        return self._phase.prefix_layers

    @property
    def phase(self) -> Phase:
        """What trains now, and since which step."""
        return self._phase

    def trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that train now, in the model's order; `PARAMETER[ROLE]` names part of a fused one.

        Of a parameter that is held in shards it is the rows of this process.
        """
        if self.plan.lora is not None:
            rows = {id(shard.in_module): shard.rows for shard in self._shards.values()}
            named = ((name, rows.get(id(value), value)) for name, value in self.model.named_parameters())
            return [(name, value) for name, value in named if value.requires_grad]
        # A fused parameter that trains as a whole holds several portions: the dictionary keeps it once.
        return list(dict(self._holders[name] for name in self._portions if name in self._phase.trained).items())

    def trained_until(self, step: int) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that any step up to `step` trains, in the model's order."""
        if self.plan.lora is not None:
            return self.trainable_parameters()
        trained = frozenset().union(*(phase.trained for phase in self.resolved.phases if phase.at <= step))
        return list(dict(self._holders[name] for name in self._portions if name in trained).items())

    def holders_of(self, parameters: Collection[str]) -> list[nn.Parameter]:
        """What holds these parameters of the untouched model: the parameter itself, or all into which it was split."""
        held = {
            id(own): own for name, (_, own) in self._holders.items() if self._portions[name].parameter in parameters
        }
        return list(held.values())

    def open_all_phases(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that any step trains, in the model's order, each with `requires_grad` from now on.

        For an optimizer, or a wrapper such as DDP, that is made once for all phases. `advance` or `set_step` close
        again what does not train yet.
        """
        parameters = self.trained_until(self.resolved.phases[-1].at)
        for _, parameter in parameters:
            parameter.requires_grad_(True)
        self._all_phases_open = True
        return parameters

    def hold_in_shards(self, shards: Mapping[nn.Parameter, Shard]) -> None:
        """Each of these parameters, which was whole, is from now on held by several processes together.

        What is hashed of it, and compared, are the rows of this process. Split matrices cannot be joined any more.
        """
        self._holders = {
            name: (holder, shards[parameter].rows if parameter in shards else parameter)
            for name, (holder, parameter) in self._holders.items()
        }
        self._shards = {id(shard.rows): shard for shard in shards.values()}
        self._set_gradients()
        self._hashes |= self._hashes_of([name for name in self._hashes if self.shard_of(name) is not None])

    def shard_of(self, portion: str) -> Shard | None:
        """What this process holds of the parameter in which the portion of this name is; None where it is whole."""
        return self._shards.get(id(self._holders[portion][1]))

    def set_step(self, step: int) -> None:
        """Stand at `step` (counted from 0), wherever the plan stood: for weights that were loaded just now.

        What is frozen there must keep the bytes that it has now, and loses its gradient; `frozen_sha256` gives their
        sums, to be compared with those of the file that was loaded.
        """
        self._phase = self.resolved.phase_at(step)
        self._moved = []
        self._set_gradients()
        frozen = [name for name in self._portions if name not in self._phase.trained]
        self._hashes = self._hashes_of(frozen)
        for name in frozen:
            self._holders[name][1].grad = None

    def advance(self, step: int) -> PlanStep | None:
        """Do what the plan changes at `step` (counted from 0); call it before the step's forward pass.

        After a resume it catches up with the changes of earlier steps. Returns what thawed and froze, or None where
        nothing did. Frozen parameters lose their gradient; drop them, with their state, from the optimizer, and add
        the thawed ones.
        """
        before, after = self._phase, self.resolved.phase_at(step)
        self._phase = after
        if self._all_phases_open:
            self._set_gradients()
        if before.trained == after.trained:
            return None
        thawed = [name for name in self._portions if name in after.trained - before.trained]
        frozen = [name for name in self._portions if name in before.trained - after.trained]
        for name in thawed:
            if self._hash(name) != self._hashes.pop(name):
                self._moved.append(name)
        self._set_gradients()
        self._hashes |= self._hashes_of(frozen)
        thawed_parameters = dict(self._holders[name] for name in thawed)
        frozen_parameters = dict(self._holders[name] for name in frozen)
        for parameter in frozen_parameters.values():
            parameter.grad = None
        return PlanStep(
            tuple(thawed_parameters),
            tuple(frozen_parameters),
            tuple(thawed_parameters.values()),
            tuple(frozen_parameters.values()),
        )

    def verify(self) -> FrozenCheck:
        """Whether every frozen portion has the bytes that it had when it was frozen."""
        found = self._hashes_of(list(self._hashes))
        moved = [name for name, expected in self._hashes.items() if found[name] != expected]
        checked = sum(self._portions[name].values for name in self._hashes)
        return FrozenCheck(checked, (*self._moved, *moved))

    def frozen_replaced(self, names: Iterable[str]) -> None:
        """The frozen portions `names` are now held in another precision: `verify` compares with what they hold now.

        Call it right after replacing them, so that nothing could have moved in between. Raises `ValueError` where one
        of them trains now.
        """
        replaced = list(names)
        for name in replaced:
            if name not in self._hashes:
                raise ValueError(f"'{name}' is not frozen: what it holds is not checked.")
        self._hashes |= self._hashes_of(replaced)

    @property
    def moved(self) -> list[str]:
        """Portions that had moved when they thawed: empty unless something is broken."""
        return list(self._moved)

    def frozen_sha256(self) -> dict[str, str]:
        """SHA-256 of each portion that is frozen now, as it was when it was frozen."""
        return {name: digest.hex() for name, digest in self._hashes.items()}

    def restore_frozen_sha256(self, sha256: dict[str, str], moved: Sequence[str], step: int) -> None:
        """Go on comparing with what `frozen_sha256` and `moved` gave after `step`.

        For what trained before it was frozen this cannot be seen from the weights alone. Raises `ValueError` where
        other portions are frozen now, or one that never trained has other bytes.
        """
        if sha256.keys() != self._hashes.keys():
            raise ValueError("other weights are frozen in it")
        trained = frozenset().union(*(phase.trained for phase in self.resolved.phases if phase.at <= step))
        for name, digest in sha256.items():
            if name not in trained and self._hashes[name].hex() != digest:
                raise ValueError(f"the frozen '{name}' is not the base model's")
        self._hashes = {name: bytes.fromhex(digest) for name, digest in sha256.items()}
        self._moved = list(moved)

    def select(self, selectors: Sequence[str]) -> list[Portion]:
        """The portions that any of `selectors` names, in the model's order; read one with `value_of`."""
        return select_from(self.resolved.map, selectors)

    def value_of(self, portion: Portion) -> Tensor:
        """The present values of `portion`, detached; may share memory with the model."""
        return value_of(self.model, portion)

    def release(self) -> None:
        """Join the split matrices again, bit for bit, so that names and `state_dict` are those of the plain model.

        For the end of training: the optimizer's parameters are no longer the model's. Adapters stay
        (`merge_adapters` removes them). Does nothing the second time.
        """
        if self._shards:
            raise ValueError("What is held in shards cannot be joined: gather it onto a model of its own.")
        self.released = True
        split = {self._portions[name].parameter for name, (holder, _) in self._holders.items() if holder.endswith("]")}
        for parameter in split:
            joined = join_parameter(self.model, parameter)
            for portion in self.resolved.portions:
                if portion.parameter == parameter:
                    self._holders[portion.name] = (parameter, joined)

    def _set_gradients(self) -> None:
        self._all_phases_open = False
        if self.plan.lora is not None:
            return  # adapters train, and nothing else: so they were injected
        for name, (_, parameter) in self._holders.items():
            parameter.requires_grad_(name in self._phase.trained)
        for shard in self._shards.values():
            shard.in_module.requires_grad_(shard.rows.requires_grad)

    def _values_of(self, parameter: nn.Parameter) -> int:
        shard = self._shards.get(id(parameter))
        return parameter.numel() if shard is None else shard.values

    def _hashes_of(self, names: Sequence[str]) -> dict[str, bytes]:
        """SHA-256 of each portion, as many at once as torch has threads: it takes as long as a short step."""
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            return dict(zip(names, threads.map(self._hash, names), strict=True))

    def _hash(self, name: str) -> bytes:
        digest = hashlib.sha256()
        holder, parameter = self._holders[name]
        held_apart = holder == name and not self._portions[name].whole
        # A part of a split matrix is read by itself, and not out of all of it; of what is in shards there is no more.
        is_own = held_apart or id(parameter) in self._shards
        value = parameter.detach() if is_own else held_value_of(self.model, self._portions[name])
        for chunk in byte_chunks(value):
            digest.update(chunk)
        if value_type(value) != value.dtype:
            let_go_of((value,))  # as its file has it: nothing that trains, into which something may be written
        return digest.digest()


def _portions_by_parameter(resolved: ResolvedPlan) -> dict[str, list[Portion]]:
    grouped: dict[str, list[Portion]] = {}
    for portion in resolved.portions:
        grouped.setdefault(portion.parameter, []).append(portion)
    return grouped

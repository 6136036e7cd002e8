"""How does a fused matrix of which only some rows train get a backward pass that computes only those?

A matrix that a plan splits is put together from its portions at each use (`plans/fused.py`); autograd then computes
the gradient of all of it and slices. Here the forward of the layer that owns it is exchanged on the instance: the
matrix stands ready in the precision of the products, only its trained rows are written anew, and the backward pass is
grad_output W for the input and grad_output[:, rows]^T input for the rows that train. (`Conv1D` of `transformers`
holds the transpose: there, rows of outputs are columns of the matrix.)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from frostline.engine.filed_weights import FILED_TYPES, linear_product
from frostline.engine.needed_rows import NeededRows, split_rows
from frostline.plans import JoinedPortions, Portion, feature_dimension

Places = slice | Tensor
"""Outputs that a portion computes: an evenly spaced run, or int64 indices."""
State = tuple[nn.Parameter, int, int]
"""A portion's parameter as it was copied: itself, its memory, its version."""


def use_needed_gradients(model: nn.Module, *, keep: bool = True) -> list[str]:
    """Let every linear layer of `model` whose matrix is split compute the gradient of its trained portions alone.

    Embeddings of which some rows train, too (`needed_rows`). With `keep` a matrix that was put together stays until
    the next step.

    Returns the names of these layers. The forward pass gives the same bits; the gradient of the input too, and that of
    a portion is the same sum over tokens (a BLAS may block it otherwise for fewer rows: rounding in the last bits).
    Which portions train may change at any time. The state dict, the parameters and their names stay as they are, and
    once the portions are joined again (`AppliedPlan.release`) the layer is its plain self.

    Trained portions must not change between a forward pass and its backward pass. A frozen one may change in place
    (`load_state_dict` does) or be given other memory, but not by writing to its `.data`, which leaves no trace.
    """
    found = []
    for name, module in model.named_modules():
        if _joined_portions(module) is not None and type(module).forward in (nn.Linear.forward, Conv1D.forward):
            assert isinstance(module, nn.Linear | Conv1D)
            vars(module)["forward"] = NeededGradients(module, keeps=keep)
            found.append(name)
        elif split_rows(module) is not None:
            assert isinstance(module, nn.Embedding)
            vars(module)["forward"] = NeededRows(module)
            found.append(name)
    return found


class NeededGradients:
    """The forward pass of one layer with a split matrix, and that matrix, kept between steps.

    An object and not a closure, so that a deep copy of the model has one of its own.
    """

    def __init__(self, module: nn.Linear | Conv1D, *, keeps: bool = True) -> None:
        self.module = module
        self._joined: JoinedPortions | None = None
        self._matrix: Tensor | None = None
        """All portions joined, as they were last seen; in no state dict, since it is no buffer of the module."""
        self._places: list[Places] = []
        """Where each portion stands among the outputs."""
        self._seen: dict[int, State] = {}
        """The portions that need no copying, by their place among all."""
        self.keeps = keeps
        """Whether the matrix stays between steps; where its parts do not, it would be what shards are to spare."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch leaves it so
    def __call__(self, hidden: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        joined = _joined_portions(self.module)
        if joined is None:
            self.forget()
            plain: Tensor = type(self.module).forward(self.module, hidden)  # type: ignore[arg-type]  # of either class
            return plain
        parts = _parts(self.module, joined)
        bias: Tensor | None = self.module.bias
        # Held as its file has it until it is sharded, it is cast up as a whole matrix is.
        dtype = hidden.dtype if parts[0].dtype in FILED_TYPES else parts[0].dtype
        device_type = hidden.device.type
        if torch.is_autocast_enabled(device_type):
            # What autocast would do to the operands of a product, done where autograd sees it.
            dtype = torch.get_autocast_dtype(device_type)
            hidden = hidden.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        matrix = self._refreshed(joined, parts, dtype)
        trained = [index for index, part in enumerate(parts) if part.requires_grad]
        product: Tensor = _NeededProduct.apply(  # type: ignore[no-untyped-call]
            hidden,
            bias,
            matrix,
            isinstance(self.module, Conv1D),
            [self._places[index] for index in trained],
            *[parts[index] for index in trained],
        )
        if not self.keeps:
            self.forget()
        return product

    def forget(self) -> None:
        """Let go of the matrix; the next forward pass puts it together anew."""
        self._matrix = self._joined = None
        self._seen.clear()

    def _refreshed(self, joined: JoinedPortions, parts: list[nn.Parameter], dtype: torch.dtype) -> Tensor:
        """The joined matrix in `dtype`; what cannot have changed since the last call is not copied again."""
        # Evaluation may come first: what is made in inference mode could not be used for training afterwards.
        with torch.inference_mode(False), torch.no_grad():
            device, shape = parts[0].device, joined.portions[0].shape
            fits = self._matrix is not None and (self._matrix.dtype, self._matrix.device) == (dtype, device)
            if self._matrix is None or not fits or self._joined is not joined:
                self._joined, self._matrix = joined, torch.empty(shape, dtype=dtype, device=device)
                self._places = [_places(portion, device) for portion in joined.portions]
                self._seen.clear()
            for index, (places, part) in enumerate(zip(self._places, parts, strict=True)):
                # Fused optimizers leave the version as it is: a portion that trains is copied each time, and once
                # more after it was frozen.
                if part.requires_grad:
                    self._seen.pop(index, None)
                elif (seen := self._seen.get(index)) is not None and seen[0] is part and seen[1:] == _state(part)[1:]:
                    continue
                else:
                    self._seen[index] = _state(part)
                _write(self._matrix, joined.dimension, places, part)
            return self._matrix


class _NeededProduct(torch.autograd.Function):
    """hidden W^T + bias (hidden W + bias where `transposed`), differentiable by hidden, bias and some portions of W."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        bias: Tensor | None,
        matrix: Tensor,
        transposed: bool,
        places: list[Places],
        *trained: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(*([hidden] if trained else []))
        # Not saved for backward: a second forward pass writes the same values into it, which autograd would refuse.
        ctx.matrix, ctx.transposed, ctx.places = matrix, transposed, places  # type: ignore[attr-defined]
        ctx.dtypes = [part.dtype for part in trained]  # type: ignore[attr-defined]
        return linear_product(hidden, matrix, bias, transposed=transposed)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        matrix, transposed = ctx.matrix, ctx.transposed  # type: ignore[attr-defined]
        needs = ctx.needs_input_grad  # type: ignore[attr-defined]
        rows = output_gradient.reshape(-1, output_gradient.shape[-1])
        hidden_gradient = bias_gradient = None
        gradients: list[Tensor | None] = []
        # Every operand has its precision already, whatever context the caller's backward pass runs in.
        with torch.autocast(rows.device.type, enabled=False):
            if needs[0]:
                flat = rows.mm(matrix.t() if transposed else matrix)
                hidden_gradient = flat.view(*output_gradient.shape[:-1], flat.shape[-1])
            if needs[1]:
                bias_gradient = rows.sum(0)
            for places, dtype in zip(ctx.places, ctx.dtypes, strict=True):  # type: ignore[attr-defined]
                (hidden,) = ctx.saved_tensors  # type: ignore[attr-defined]
                flat_hidden = hidden.reshape(-1, hidden.shape[-1])
                own = rows[:, places] if isinstance(places, slice) else rows.index_select(1, places)
                gradient = flat_hidden.t().mm(own) if transposed else own.t().mm(flat_hidden)
                gradients.append(gradient.to(dtype))
        return hidden_gradient, bias_gradient, None, None, None, *gradients


def _state(part: nn.Parameter) -> State:
    return part, part.data_ptr(), part._version


def _places(portion: Portion, device: torch.device) -> Places:
    assert portion.indices is not None  # a portion that is all of its parameter is not split
    if len(portion.indices) == 1:
        run = portion.indices[0]
        return slice(run.start, run.stop, run.step)
    return portion.index_tensor(device)


def _write(matrix: Tensor, dimension: int, places: Places, values: Tensor) -> None:
    if isinstance(places, slice):
        target = matrix[places] if dimension == 0 else matrix[:, places]
        target.copy_(values)
    else:
        matrix.index_copy_(dimension, places, values.to(matrix.dtype))


def _joined_portions(module: nn.Module) -> JoinedPortions | None:
    """What joins the outputs of the matrix of `module`; None where it is not split by outputs, or not only that."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    joined, *others = module.get_submodule("parametrizations.weight").children()
    if others or not isinstance(joined, JoinedPortions) or joined.dimension != feature_dimension(module):
        return None
    return joined


def _parts(module: nn.Module, joined: JoinedPortions) -> list[nn.Parameter]:
    holder = module.get_submodule("parametrizations.weight")
    return [holder.get_parameter(f"original{index}") for index in range(len(joined.portions))]

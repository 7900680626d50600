"""Optimizers: each step is one pass over a module's flat parameters and gradients."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from rnncore._checks import (
    as_array,
    boolean,
    check_shape,
    expect_module,
    fraction,
    not_negative,
    number,
)
from rnncore._fixed import Fixed
from rnncore._memory import aligned_zeros
from rnncore._native import optim as _kernels
from rnncore._parts import storable
from rnncore._types import Array
from rnncore.module import Module

__all__ = ["SGD", "Adam", "AdamW", "clip_grad_norm"]


def __dir__() -> list[str]:
    return __all__


_Self = TypeVar("_Self", bound="_Optimizer")


class _Optimizer(Fixed):
    """What SGD, Adam and AdamW share: the learning rate, the step count and their state.

    The learning rate alone may be set; the rest stays as it was given.

    copy.copy gives an optimizer of the same module with moments of its own; copy.deepcopy and
    pickle copy the module too.
    """

    of_module: ClassVar[bool] = True  # a file makes it again for the model beside it
    _options: ClassVar[tuple[str, ...]]  # hyper-parameters: constructor arguments and attributes

    def __init__(self, module: Module, lr: float, moments: tuple[str, ...]) -> None:
        expect_module("module", module, Module)
        self.module = module
        self.lr = lr
        self._steps = 0
        self._moments = {
            name: aligned_zeros(module.flat_parameters.shape, module.dtype) for name in moments
        }

    @property
    def lr(self) -> float:
        """Learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = not_negative("lr", value)

    @property
    def steps(self) -> int:
        """Count of steps taken."""
        return self._steps

    def _count(self, move: Callable[[], None]) -> None:
        """Move the parameters, and count it; a signal is heard behind the kernel, and then too."""
        self._steps += 1
        try:
            move()
        except Exception:
            self._steps -= 1
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs: "kind", "step", the hyper-parameters, copies of the moments.

        The moments are 1-D arrays laid out as the module's `flat_parameters`.
        """
        state: dict[str, Any] = {"kind": type(self).__name__, "step": self._steps}
        state |= {name: getattr(self, name) for name in self._options}
        return state | {name: array.copy() for name, array in self._moments.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state, hyper-parameters included; on an error nothing changes.

        Parameters
        ----------
        state : mapping
            From `state_dict` of an optimizer of the same kind on a module of the same layout.
            Scalars and pairs may be arrays, as numpy.savez stores them.

        Raises
        ------
        KeyError
            If names are missing or unexpected; the message lists them.
        TypeError, ValueError
            If the state is another kind's, or a value or an array's shape does not fit.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a mapping, got {type(state).__name__}")
        self._check_names(state, ("kind",), exact=False)
        scalars = ("kind", "step", *self._options)
        state = {
            name: value.tolist() if name in scalars and isinstance(value, np.ndarray) else value
            for name, value in state.items()
        }
        if state["kind"] != type(self).__name__:
            raise ValueError(f"kind: expected {type(self).__name__!r}, got {state['kind']!r}")
        self._check_names(state, scalars, exact=False)
        options = {name: state[name] for name in self._options}
        fresh = type(self)(self.module, **options)  # checks them as any caller's
        self._check_names(state, (*scalars, *fresh._moments), exact=True)
        fresh._steps = _step_count(state["step"])
        for name, target in fresh._moments.items():
            array = as_array(name, state[name], target.dtype)
            check_shape(name, array, "the shape of flat_parameters", target.shape)
            _check_moment(name, array)
            target[...] = array
        self.__dict__.update(fresh.__dict__)

    @classmethod
    def from_state_dict(cls: type[_Self], state: Mapping[str, Any], module: Module) -> _Self:
        """Return an optimizer for `module` with a state; errors are those of `load_state_dict`."""
        optimizer = cls(module, 0.0)  # type: ignore[call-arg]  # each subclass takes these
        optimizer.load_state_dict(state)
        return optimizer

    @staticmethod
    def _check_names(state: Mapping[str, Any], names: tuple[str, ...], *, exact: bool) -> None:
        missing = [name for name in names if name not in state]
        unexpected = [name for name in state if name not in names] if exact else []
        if missing or unexpected:
            raise KeyError(f"state: missing {missing}, unexpected {unexpected}")

    def __copy__(self: _Self) -> _Self:
        return copy.deepcopy(self, {id(self.module): self.module})

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._options)
        return f"{type(self).__name__}({options})"


@storable
class SGD(_Optimizer):
    """Stochastic gradient descent: v = momentum v + g, p -= lr v, as torch.optim.SGD.

    Parameters
    ----------
    module : Module
        The layer or model whose parameters it moves.
    lr : float
        Learning rate, >= 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        p -= lr (g + momentum v) instead (Sutskever et al. 2013, in torch's form).
    weight_decay : float
        g becomes g + weight_decay p; >= 0.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is out of its range, or nesterov is asked for without momentum.
    """

    _options = ("lr", "momentum", "nesterov", "weight_decay")

    def __init__(
        self,
        module: Module,
        lr: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = fraction("momentum", momentum)
        self.nesterov = boolean("nesterov", nesterov)
        self.weight_decay = not_negative("weight_decay", weight_decay)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: expected a momentum above 0 with it, got 0")
        super().__init__(module, lr, ("velocity",) if self.momentum > 0 else ())

    def step(self) -> None:
        """Move the parameters once by the gradients that lie in `grads`."""
        module, velocity, lr = self.module, self._moments.get("velocity"), self.lr
        parameters, grads = module.flat_parameters, module.flat_grads
        options = self.momentum, self.nesterov, self.weight_decay
        self._count(partial(_kernels.sgd_step, parameters, grads, velocity, lr, *options))


@storable
class Adam(_Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1), as torch.optim.Adam.

    Parameters
    ----------
    module : Module
        The layer or model whose parameters it moves.
    lr : float
        Learning rate, >= 0.
    betas : tuple of float
        Decay of the first and of the second moment, each in [0, 1).
    eps : float
        Added to the square root of the second moment; at least the dtype's smallest normal number.
    weight_decay : float
        g becomes g + weight_decay p; >= 0.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is out of its range.
    """

    _options = ("lr", "betas", "eps", "weight_decay")
    _decoupled: ClassVar[bool] = False

    def __init__(
        self,
        module: Module,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(module, lr, ("m", "v"))
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"betas: expected two numbers in [0, 1), got {betas!r}")
        self.betas = fraction("betas[0]", betas[0]), fraction("betas[1]", betas[1])
        self.eps = not_negative("eps", eps)
        # 0 / (0 + eps) in the gaps of the flat buffer must be 0; subnormals count as 0
        smallest = float(np.finfo(module.dtype).tiny)
        if self.eps < smallest:
            raise ValueError(f"eps: expected a number >= {smallest:.3g}, got {eps!r}")
        self.weight_decay = not_negative("weight_decay", weight_decay)

    def step(self) -> None:
        """Move the parameters once by the gradients that lie in `grads`."""
        module, moments, lr = self.module, (self._moments["m"], self._moments["v"]), self.lr
        parameters, grads, step = module.flat_parameters, module.flat_grads, self._steps + 1
        options = self.betas, self.eps, self.weight_decay, self._decoupled
        self._count(partial(_kernels.adam_step, parameters, grads, moments, step, lr, *options))


@storable
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW.

    Parameters
    ----------
    module : Module
        The layer or model whose parameters it moves.
    lr : float
        Learning rate, >= 0.
    betas : tuple of float
        Decay of the first and of the second moment, each in [0, 1).
    eps : float
        Added to the square root of the second moment; at least the dtype's smallest normal number.
    weight_decay : float
        p shrinks by lr weight_decay p in each step, whatever its gradient; >= 0.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is out of its range.
    """

    _decoupled = True

    def __init__(
        self,
        module: Module,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(module, lr, betas=betas, eps=eps, weight_decay=weight_decay)


def clip_grad_norm(module: Module, max_norm: float) -> float:
    """Scale a module's gradients down to a norm of at most `max_norm`.

    As ``torch.nn.utils.clip_grad_norm_``: they are multiplied by max_norm / (norm + 1e-6) where
    that is below 1 (Pascanu et al. 2013).

    Parameters
    ----------
    module : Module
        Its `grads`, taken as one vector, are scaled in place.
    max_norm : float
        Greatest norm, >= 0; ``math.inf`` only measures.

    Returns
    -------
    norm : float
        Euclidean norm before clipping, summed in float64. Where it is NaN or infinite, the
        gradients stay as they are.

    Raises
    ------
    TypeError, ValueError
        If `module` is no Module or `max_norm` is negative or NaN.
    """
    expect_module("module", module, Module)
    limit = number("max_norm", max_norm)
    if not limit >= 0:
        raise ValueError(f"max_norm: expected a number >= 0, got {max_norm!r}")
    norm = _kernels.norm(module.flat_grads)
    factor = limit / (norm + 1e-6)
    if math.isfinite(norm) and factor < 1:
        _kernels.scale(module.flat_grads, factor)
    return norm


def _check_moment(name: str, array: Array) -> None:
    """Raise ValueError for NaN, which no later step takes away, and a mean of squares below 0."""
    wrong = np.isnan(array) if name != "v" else ~(array >= 0)
    if wrong.any():
        at, what = int(wrong.argmax()), "no NaN" if name != "v" else "numbers >= 0"
        raise ValueError(f"{name}: expected {what}, got {array[at]} at index {at}")


def _step_count(value: Any) -> int:
    try:
        steps = operator.index(value)
    except TypeError:
        raise TypeError(f"step: expected an integer, got {value!r}") from None
    if not 0 <= steps < 2**63 - 1:
        raise ValueError(f"step: expected an integer >= 0, got {steps}")
    return steps

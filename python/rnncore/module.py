"""Module: named parameters in one flat buffer, their gradients in another."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import as_numpy, boolean, check_dtype, what_came
from rnncore._fixed import check_assignment, constructor_names
from rnncore._html import folded, table
from rnncore._memory import ALIGNMENT, aligned_zeros
from rnncore._size_limit import take_numbers
from rnncore._state_names import prefix_of, warn_of_no_match
from rnncore._types import Array

__all__ = ["LoadedNames", "Module"]

Shapes = dict[str, tuple[int, ...]]

_Self = TypeVar("_Self", bound="Module")

# Attributes that lie in, or say how to read, the two buffers: written into, never replaced.
_FIXED = ("parameters", "grads", "flat_parameters", "flat_grads", "children", "dtype")


class LoadedNames(NamedTuple):
    """What `Module.load_state_dict` passed over; both are empty where everything matched.

    Attributes
    ----------
    missing : list of str
        Parameters of the module that the mapping does not hold; they kept their values.
    unexpected : list of str
        Names of the mapping that the module does not have.
    """

    missing: list[str]
    unexpected: list[str]


def _aligned_size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Elements that a parameter takes in a flat buffer, the gap behind it included."""
    step = ALIGNMENT // dtype.itemsize
    return -(-math.prod(shape) // step) * step


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def constructor_text(
    module: Module, sizes: tuple[Any, ...], options: Mapping[str, tuple[Any, Any]]
) -> str:
    """Return the call that builds `module`; options are (value, default), defaults left out."""
    named = [f"{name}={value!r}" for name, (value, usual) in options.items() if value != usual]
    return f"{type(module).__name__}({', '.join([*map(str, sizes), *named])})"


# The memory of gradients that a call further out restores or clears on an error.
_guarded: ContextVar[Any] = ContextVar("guarded", default=None)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore those gradients after the body: a user's function may have back-propagated."""
    guarded = _guarded.get()
    before = None if guarded is None else guarded.copy()
    try:
        yield
    finally:
        if guarded is not None:
            guarded[...] = before


_loadable: dict[str, type[Module]] = {}


def loadable_classes() -> Mapping[str, type[Module]]:
    """Return by name the classes that a model file may name."""
    return MappingProxyType(_loadable)


def check_tape(tape: Any, kind: type[Any], owner: Module) -> None:
    """Raise unless `tape` is of `kind`, of a forward call of `owner`, and not used up."""
    if not isinstance(tape, kind):
        raise TypeError(f"tape: expected the {kind.__name__} of forward, got {type(tape).__name__}")
    if tape.owner is not owner:
        name = type(owner).__name__
        raise ValueError(f"tape: expected one of this {name}'s forward, got one of another module")
    if tape.used:
        raise ValueError("tape: already used; call forward again")


class Module(ABC):
    """Base of layers and models: named views into one flat parameter and one gradient buffer.

    An optimizer step, a gradient norm and a checkpoint are then one pass over one buffer.
    A composite (a model) is built from ``children``; their parameters move into the composite's
    buffers and keep their names behind the child's, as in ``"core.weight_ih_l0"``. A module is
    part of one composite at most; an array taken from `parameters` before is then a stale copy.
    Copies (``copy.copy`` too) and pickles share nothing with the original. Children and buffers
    stay: assigning to such an attribute raises AttributeError.

    A subclass with ``loadable=True`` may be saved and loaded: each argument of its constructor is
    an attribute of the same name, and stays.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        Views into `flat_parameters` and `flat_grads`; write into them in place.
    flat_parameters, flat_grads : numpy.ndarray
        The whole buffers, 1-D: the module's own parameters, then each child's; the gaps that
        align each parameter hold zeros.
    """

    flat_parameters: Array
    flat_grads: Array
    parameters: Mapping[str, Array]
    grads: Mapping[str, Array]
    _views: tuple[str, ...] = ("parameters", "grads")  # set by _place, so never pickled
    _fixed: ClassVar[frozenset[str]] = frozenset()  # attributes that stay

    def __init_subclass__(cls, *, loadable: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        if loadable:
            known = _loadable.get(cls.__name__)
            if known is not None and known.__module__ != cls.__module__:  # else: a module reloaded
                raise TypeError(f"{cls.__name__}: {known.__module__} has a loadable class so named")
            _loadable[cls.__name__] = cls
            cls._fixed = cls._fixed | constructor_names(cls) - {"rng"}

    def __init__(self, shapes: Shapes, dtype: DTypeLike = np.float32) -> None:
        self._shapes = dict(shapes)
        self._adopted = False
        self.dtype = check_dtype(dtype)
        take_numbers(sum(map(math.prod, self._shapes.values())))
        self.children: Mapping[str, Module] = MappingProxyType({})
        size = self._own_size()
        self._place(aligned_zeros((size,), self.dtype), aligned_zeros((size,), self.dtype))

    def _adopt(self, children: Mapping[str, Module]) -> None:
        """Move the children's parameters into this module's buffers (once, at the end of init)."""
        for name, child in children.items():
            if child.flat_parameters.size and child.dtype != self.dtype:
                raise ValueError(f"{name}: expected dtype {self.dtype}, got {child.dtype}")
            if child._adopted:
                raise ValueError(f"{name}: already part of another model; pass copy.deepcopy of it")
        if len({id(child) for child in children.values()}) < len(children):
            raise ValueError(f"{', '.join(children)}: expected different modules, got one twice")
        own = self._own_size()
        self._join(children, self.flat_parameters[:own], self.flat_grads[:own])

    def _join(self, children: Mapping[str, Module], parameters: Array, grads: Array) -> None:
        """Place own values and those of the children side by side in fresh buffers."""
        values = [parameters, *(child.flat_parameters for child in children.values())]
        gradients = [grads, *(child.flat_grads for child in children.values())]
        size = sum(array.size for array in values)
        buffers = aligned_zeros((size,), self.dtype), aligned_zeros((size,), self.dtype)
        np.concatenate(values, out=buffers[0])
        np.concatenate(gradients, out=buffers[1])
        self.__dict__["children"] = MappingProxyType(dict(children))
        for child in children.values():
            child._adopted = True
        self._place(*buffers)

    def _own_size(self) -> int:
        return sum(_aligned_size(shape, self.dtype) for shape in self._shapes.values())

    def _place(self, parameters: Array, grads: Array) -> None:
        """Make every named array a view into the given flat buffers."""
        arrays: dict[str, Any] = {"flat_parameters": parameters, "flat_grads": grads}
        values: dict[str, Array] = {}
        gradients: dict[str, Array] = {}
        position = 0
        for name, shape in self._shapes.items():
            part = slice(position, position + math.prod(shape))
            values[name] = parameters[part].reshape(shape)
            gradients[name] = grads[part].reshape(shape)
            position += _aligned_size(shape, self.dtype)
        for prefix, child in self.children.items():
            end = position + child.flat_parameters.size
            child._place(parameters[position:end], grads[position:end])
            position = end
            for name in child.parameters:
                values[f"{prefix}.{name}"] = child.parameters[name]
                gradients[f"{prefix}.{name}"] = child.grads[name]
        arrays |= {"parameters": MappingProxyType(values), "grads": MappingProxyType(gradients)}
        self.__dict__.update(arrays)

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name)
        if value is not before:  # `flat_grads *= 2` assigns the array that is there
            self._check_assignment(name, before, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._check_assignment(name, self.__dict__.get(name), None)
        super().__delattr__(name)

    def _check_assignment(self, name: str, before: Any, value: Any) -> None:
        """Raise AttributeError for what would part the module from its buffers or children."""
        owner = type(self).__name__
        if name in _FIXED and before is not None:
            raise AttributeError(
                f"{name}: expected no assignment, since the {owner} computes in the arrays that it "
                "has; write into them in place, as in flat_parameters[...] = values"
            )
        children = self.__dict__.get("children", {}).values()
        is_child = any(value is child for child in children)
        if any(before is child for child in children) or (
            children and isinstance(value, Module) and not is_child
        ):
            raise AttributeError(
                f"{name}: expected the parts that the {owner} was built of, got "
                f"{type(value).__name__}; build a new {owner}, or copy numbers with "
                f"{name}.load_state_dict(other.state_dict())"
            )
        check_assignment(self, self._fixed, name)

    @abstractmethod
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return the outputs and, last, the tape for `backward`."""

    @abstractmethod
    def backward(self, tape: Any, *gradients: Any, **options: Any) -> Any:
        """Add the parameters' gradients into `grads`; return those of the inputs."""

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the parts, with the shapes of all parameters folded."""
        parts = [(name, repr(part), f"{part.num_parameters:,}") for name, part in self.modules()]
        shapes = [(name, array.shape, f"{array.size:,}") for name, array in self.parameters.items()]
        return table(["part", "what it is", "parameters"], parts) + folded(
            f"{len(shapes)} parameter arrays of {self.dtype}",
            table(["parameter", "shape", "numbers"], shapes),
        )

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """Restore `grads` if the body raises.

        Only the outermost such call on a buffer copies it: the inner ones, of children say, rely on
        it.
        """
        if _guarded.get() is self.flat_grads.base:
            yield
            return
        with self._guard(self.flat_grads.copy()):
            yield

    @contextmanager
    def zero_on_error(self) -> Iterator[None]:
        """Set `grads` to zero if the body raises: no copy, where they were zero before."""
        with self._guard(0):
            yield

    @contextmanager
    def _guard(self, before: Array | int) -> Iterator[None]:
        token = _guarded.set(self.flat_grads.base)
        try:
            yield
        except BaseException:
            self.flat_grads[...] = before
            raise
        finally:
            _guarded.reset(token)

    def modules(self, name: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all that it is built of, each with its path behind `name`."""
        yield name, self
        for own, child in self.children.items():
            yield from child.modules(f"{name}.{own}" if name else own)

    def generators(self) -> Iterator[np.random.Generator]:
        """Yield the random generators of the layers inside: of dropout, scheduled sampling."""
        for _, module in self.modules():
            own = getattr(module, "rng", None)
            if isinstance(own, np.random.Generator):
                yield own

    @property
    def num_parameters(self) -> int:
        """Count of trainable numbers."""
        return sum(array.size for array in self.parameters.values())

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        self.flat_grads.fill(0)

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter by name."""
        return {name: array.copy() for name, array in self.parameters.items()}

    def load_state_dict(self, mapping: Mapping[str, Any], strict: bool = True) -> LoadedNames:
        """Copy parameters in by name; either all of them arrive or none.

        Parameters
        ----------
        mapping : mapping of str to array_like
            Arrays (or torch tensors on the CPU) with the shapes of `parameters`, in any real
            type; they are rounded to the module's dtype.
        strict : bool
            Raise for names that are missing or unexpected; otherwise such names are passed over,
            with a warning if not one name matched.

        Returns
        -------
        LoadedNames
            (missing, unexpected): the names that were passed over.

        Raises
        ------
        KeyError
            With `strict`, if names are missing or unexpected; the message lists them.
        ValueError
            If a shape differs, or a parameter here is read-only.
        TypeError
            If `mapping` is no mapping, a value holds no real numbers or `strict` is no bool.
        """
        if not isinstance(mapping, Mapping):
            raise TypeError(f"state_dict: expected a mapping, got {what_came(mapping)}")
        strict = boolean("strict", strict)
        missing = [name for name in self.parameters if name not in mapping]
        unexpected = [name for name in mapping if name not in self.parameters]
        if strict and (missing or unexpected):
            prefix = prefix_of(self.parameters, mapping)
            if prefix is not None:
                raise KeyError(f"state_dict: expected names without {prefix!r} in front")
            raise KeyError(f"state_dict: missing {missing}, unexpected {unexpected}")
        if missing and len(missing) == len(self.parameters):
            warn_of_no_match(missing, unexpected)
        arrived = self.flat_parameters.copy()
        for name, own in self.parameters.items():
            if name in mapping:
                start = (_address(own) - _address(self.flat_parameters)) // own.itemsize
                target = arrived[start : start + own.size].reshape(own.shape)
                self._read_parameter(name, mapping[name], target)
        self.flat_parameters[...] = arrived  # in one go, which nothing interrupts
        return LoadedNames(missing, unexpected)

    def _read_parameter(self, name: str, value: Any, target: Array) -> None:
        """Copy an array into `target` if it fits there."""
        array = as_numpy(name, value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
        if array.shape != target.shape:
            raise ValueError(f"{name}: expected shape {target.shape}, got {array.shape}")
        if not self.parameters[name].flags.writeable:
            raise ValueError(f"{name}: expected a parameter to write to, got a read-only one")
        target[...] = array

    def __copy__(self: _Self) -> _Self:
        """Return what copy.deepcopy returns: children can't be part of two modules."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        own = self._own_size()
        state = {name: value for name, value in self.__dict__.items() if name not in self._views}
        state["flat_parameters"] = self.flat_parameters[:own]  # each child brings its part
        state["flat_grads"] = self.flat_grads[:own]
        state["children"] = dict(self.children)
        state["_adopted"] = False  # a copy stands alone, unless its parent's copy adopts it
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, child in state["children"].items():
            if child._adopted:  # by the module that the state was taken of
                raise ValueError(f"{name}: already part of another model; use copy.deepcopy")
        self.__dict__.update(state)
        self._join(self.children, self.flat_parameters, self.flat_grads)

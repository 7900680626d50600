"""Where the embedding, the recurrent layers and the head of a torch model are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules import dropout, loss

from rnncore.torch.task_module import TaskModule

KINDS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "embedding": (nn.Embedding,),
    "core": (nn.RNN, nn.GRU, nn.LSTM),
    "head": (nn.Linear,),
}

# Modules that do nothing in inference, or stand beside the model.
_INERT: tuple[type, ...] = (
    nn.Identity,
    *(
        kind
        for room in (dropout, loss)
        for kind in vars(room).values()
        if isinstance(kind, type) and kind.__module__ == room.__name__
    ),
)


class Parts(NamedTuple):
    """The modules that a model is made of."""

    embedding: nn.Module | None
    core: nn.Module
    head: nn.Module

    def present(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield those that are there by name."""
        for name, part in self._asdict().items():
            if part is not None:
                yield name, part


def find_parts(model: nn.Module, paths: Mapping[str, str | None]) -> Parts:
    """Return the parts by the paths that the user gave; without any, those of a Sequential by type.

    Raises
    ------
    TypeError, ValueError
        If a part is missing or of another type, or the model holds more than its parts.
    """
    if any(path is not None for path in paths.values()):
        parts = _parts_by_path(model, paths)
    elif isinstance(model, TaskModule):
        parts = Parts(model.embedding, model.core, model.head)
    elif isinstance(model, nn.Sequential):
        parts = _parts_by_type(model)
    else:
        raise ValueError(
            f"core: expected the name of a submodule of {type(model).__name__}, which is no "
            "Sequential, got None; as in from_torch(model, task='many_to_one', embedding='emb', "
            "core='lstm', head='fc')"
        )
    _refuse_others(model, parts)
    return parts


def _parts_by_path(model: nn.Module, paths: Mapping[str, str | None]) -> Parts:
    found: dict[str, Any] = {}
    for part, path in paths.items():
        if path is None and part == "embedding":
            found[part] = None
            continue
        module = found[part] = _only_layer(_submodule(model, part, path))
        if not isinstance(module, KINDS[part]):
            wanted = " or ".join(f"torch.nn.{kind.__name__}" for kind in KINDS[part])
            raise TypeError(f"{part}: expected {wanted}, got {type(module).__name__} at {path!r}")
    return Parts(**found)


def _submodule(model: nn.Module, part: str, path: str | None) -> nn.Module:
    known: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if not isinstance(path, str) or not path or path not in known:
        names = ", ".join(repr(name) for name in known if name)
        raise ValueError(
            f"{part}: expected the name of a submodule of {type(model).__name__}, one of {names}; "
            f"got {path!r}"
        )
    return known[path]


def _only_layer(module: nn.Module) -> nn.Module:
    """Return the one layer of a Sequential that holds nothing else but inert modules."""
    if isinstance(module, nn.Sequential):
        inside: list[nn.Module] = [each for each in module if not isinstance(each, _INERT)]
        if len(inside) == 1:
            return _only_layer(inside[0])
    return module


def _parts_by_type(model: nn.Sequential) -> Parts:
    found: dict[str, Any] = {}
    for path, module in _leaves(model):
        for part, kinds in KINDS.items():
            if isinstance(module, kinds):
                if part in found:
                    name = type(module).__name__
                    raise ValueError(f"{part}: expected one, got another {name} at {path!r}")
                found[part] = module
    for part in ("core", "head"):
        if part not in found:
            raise ValueError(f"{part}: expected one in the Sequential, got none")
    if list(found) != [part for part in KINDS if part in found]:
        raise ValueError(f"model: expected embedding, core, head, got the order {list(found)}")
    return Parts(**{"embedding": None} | found)


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what has no modules inside, with its path."""
    for path, module in model.named_modules():
        if path and next(module.children(), None) is None:
            yield path, module


def _refuse_others(model: nn.Module, parts: Parts) -> None:
    """Raise ValueError for what else in the model works on its outputs, as far as one can see.

    A module of the user's own without numbers is taken for what picks the head's input.
    """
    used = [part for _, part in parts.present()]
    known = {id(tensor) for part in used for tensor in (*part.parameters(), *part.buffers())}
    for kind, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for path, tensor in named:
            if id(tensor) not in known:
                raise ValueError(
                    f"{path}: expected all numbers in embedding, core and head, got a {kind} of "
                    f"shape {tuple(tensor.shape)} that the converted model would leave out"
                )
    inside = {id(module) for part in used for module in part.modules()}
    for path, module in _leaves(model):
        foreign = type(module).__module__.split(".")[0] == "torch"
        if foreign and id(module) not in inside and not isinstance(module, _INERT):
            raise ValueError(
                f"{path}: expected nothing beside embedding, core and head, got {module!r}, whose "
                "work the converted model would leave out"
            )

"""Attributes that stay as the constructor set them."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar


def constructor_names(cls: type[Any]) -> frozenset[str]:
    """Return the constructor's arguments; not those whose property has a setter, which checks."""
    found = []
    for name in inspect.signature(cls).parameters:
        own = inspect.getattr_static(cls, name, None)
        if not (isinstance(own, property) and own.fset):
            found.append(name)
    return frozenset(found)


def check_assignment(owner: Any, fixed: frozenset[str], name: str) -> None:
    """Raise AttributeError if one of the `fixed` is there already, or a property."""
    cls = type(owner)
    if name in fixed and (name in owner.__dict__ or isinstance(getattr(cls, name, None), property)):
        raise AttributeError(
            f"{name}: expected no assignment, since the {cls.__name__} was built with it; build a "
            f"new {cls.__name__}"
        )


class Fixed:
    """Base of classes of this package whose constructor's arguments are attributes that stay."""

    _fixed: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:  # not a user's
            cls._fixed = cls._fixed | constructor_names(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        check_assignment(self, self._fixed, name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        check_assignment(self, self._fixed, name)
        super().__delattr__(name)

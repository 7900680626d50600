"""Estimator: what all estimators are to scikit-learn, to notebooks and to files."""

from __future__ import annotations

import html
import importlib
import inspect
import sys
from collections.abc import Mapping
from os import PathLike
from typing import Any, TypeVar

import numpy as np

from rnncore import checkpoint
from rnncore._checks import generator
from rnncore._random import restore
from rnncore.training import History

_Self = TypeVar("_Self", bound="Estimator")

_known: dict[str, type[Estimator]] = {}


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fitted estimator was called before `fit`.

    Where scikit-learn is loaded its exception of this name is raised in place of this one.
    """


def of_sklearn(module: str, name: str, otherwise: Any) -> Any:
    """Return a name of a module of scikit-learn if that is loaded; it is never imported here."""
    return getattr(sys.modules.get(f"sklearn.{module}"), name, otherwise)


def random_source(random_state: Any) -> np.random.Generator:
    """Return a generator of what scikit-learn calls random_state."""
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(2**31 - 1))
    try:
        return generator(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"random_state: expected an int >= 0, a generator or None, got {random_state!r}"
        ) from error


class Estimator:
    """Base of the estimators: parameters, text, files, and what scikit-learn asks.

    The parameters are the arguments of a class's own ``__init__``, which only stores them; `fit`
    checks them. What a fit finds are attributes whose names end in ``_``. A class names
    those that files keep. Nothing here imports scikit-learn, but for the
    tags, which scikit-learn alone asks for.

    Attributes
    ----------
    model_ : Model
        What was trained; with this attribute an estimator is fitted.
    history_ : History
        Of the last training.
    """

    _estimator_type: str | None = None  # "classifier" or "regressor"
    _takes_3d: bool = False  # whether X may be an array (n, T, F)
    _fitted: tuple[str, ...] = ()  # attributes besides model_ and history_ that files keep

    model_: Any
    history_: History

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _known[cls.__name__] = cls

    # --- parameters ---

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool
            Without effect, since no parameter is an estimator.
        """
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: _Self, **params: Any) -> _Self:
        """Set parameters by name; the next `fit` takes them.

        Returns
        -------
        Estimator
            This object.

        Raises
        ------
        ValueError
            For a name that is no parameter; then nothing is set.
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                kind = type(self).__name__
                raise ValueError(f"{name}: expected a parameter of {kind}, one of {[*known]}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    # --- text ---

    def _changed(self) -> dict[str, Any]:
        """Return the parameters that differ from their defaults."""
        usual = inspect.signature(type(self)).parameters
        values = self.get_params()
        return {
            name: value
            for name, value in values.items()
            if value is not usual[name].default and repr(value) != repr(usual[name].default)
        }

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={_text(value)}" for name, value in self._changed().items())
        return f"{type(self).__name__}({params})"

    def _summary(self) -> dict[str, Any]:
        """Return what a notebook shows of a fitted estimator, by name."""
        return {"model": self.model_, "training": self.history_}

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: what was chosen, and what was fitted."""
        rows = dict(self._changed())
        fitted = self.__sklearn_is_fitted__()
        rows |= self._summary() if fitted else {}
        cells = "".join(
            f'<tr><td style="text-align:left">{html.escape(name)}</td>'
            f'<td style="text-align:left;white-space:pre-wrap">{html.escape(str(value))}</td></tr>'
            for name, value in rows.items()
        )
        title = f"{type(self).__name__} ({'fitted' if fitted else 'not fitted'})"
        return (
            f'<table><tr><th colspan="2" style="text-align:left">{title}</th></tr>{cells}</table>'
        )

    # --- scikit-learn ---

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        sklearn = importlib.import_module("sklearn.utils")
        kind = self._estimator_type
        tags = sklearn.Tags(
            estimator_type=kind, target_tags=sklearn.TargetTags(required=kind is not None)
        )
        tags.non_deterministic = False
        tags.input_tags.three_d_array = self._takes_3d
        if kind == "classifier":
            tags.classifier_tags = sklearn.ClassifierTags()
        elif kind == "regressor":
            tags.regressor_tags = sklearn.RegressorTags()
        return tags

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            error = of_sklearn("exceptions", "NotFittedError", NotFittedError)
            kind = type(self).__name__
            raise error(f"{kind}: expected a call of fit before this one, got none")

    def _become(self, fresh: Estimator) -> None:
        """Take over what another object of this class has fitted."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        params = self.get_params()
        vars(self).update({k: v for k, v in vars(fresh).items() if k not in params})

    # --- files ---

    def _state(self) -> dict[str, Any]:
        """Return what was fitted besides model and history: plain data, arrays, stored objects."""
        there = [name for name in self._fitted if hasattr(self, name)]
        return {name: _to_stored(getattr(self, name)) for name in there}

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over what `_state` returned, lists in place of tuples; `model_` is there."""
        for name in self._fitted:
            if name in state:
                setattr(self, name, _from_stored(state[name]))

    def _plain_params(self) -> dict[str, Any]:
        """Return the parameters, None in place of a generator."""
        random = (np.random.Generator, np.random.RandomState)
        params = self.get_params()
        return {n: None if isinstance(value, random) else value for n, value in params.items()}

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file; see `rnncore.checkpoint.save`.

        `load` reads it. The optimizer is kept too, so that `partial_fit` goes on as it would have.
        A generator given as ``random_state`` is not kept: None stands in its place.

        Parameters
        ----------
        path : str or path-like
            Conventionally ends in ".safetensors".

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            If a parameter or a class name can't be stored: text, numbers, booleans and numpy's
            datetime64 and timedelta64 can.
        OSError
            If the file can't be written.
        """
        self._check_fitted()
        description = {
            "class": type(self).__name__,
            "params": _to_stored(self._plain_params()),
            "state": self._state(),
            "history": self.history_.to_dict(),
            "random": [source.bit_generator.state for source in self.model_.generators()],
        }
        parts = {"estimator": description, "optimizer": self.model_.optimizer}
        checkpoint.save(self.model_, path, **parts)

    @classmethod
    def load(cls: type[_Self], path: str | PathLike[str]) -> _Self:
        """Read back what `save` wrote. No code of the file is run.

        Parameters
        ----------
        path : str or path-like
            A file of `save`.

        Returns
        -------
        Estimator
            A fitted estimator of the saved class.

        Raises
        ------
        CheckpointError
            If the file is damaged, of a newer version, or of no estimator of this class.
        OSError
            If the file can't be read.
        """
        parts = checkpoint.load_parts(path)
        stored = parts.get("estimator")
        if not isinstance(stored, dict):
            got = type(parts["model"]).__name__
            raise checkpoint.CheckpointError(f"{path}: expected an estimator, got a {got} alone")
        name = stored.get("class")
        found = _known.get(name) if isinstance(name, str) else None
        if found is None or not issubclass(found, cls):
            raise checkpoint.CheckpointError(f"{path}: expected {cls.__name__}, got {name}")
        try:
            estimator: _Self = found(**_from_stored(stored["params"]))
            estimator._fill(parts["model"], parts["optimizer"], stored)
        except checkpoint.MISFIT as error:
            raise checkpoint.CheckpointError(
                f"{path}: the estimator fits no class of this version: {error}"
            ) from error
        return estimator

    def _fill(self, model: Any, optimizer: Any, stored: dict[str, Any]) -> None:
        """Become fitted, as a file says."""
        self.model_, self.history_ = model, History()
        self.history_.load_dict(stored["history"])
        model.optimizer, model.history = optimizer, self.history_
        for source, state in zip(model.generators(), stored["random"], strict=True):
            restore(source, state)
        self._restore(stored["state"])


def _text(value: Any) -> str:
    """Return a parameter as one would write it."""
    if isinstance(value, type) and issubclass(value, np.generic):
        return f"numpy.{value.__name__}"
    return repr(value)


def _to_stored(value: Any) -> Any:
    """Return a parameter or attribute as files hold it: dicts as pairs, whose keys may be any."""
    if isinstance(value, Mapping):
        return {"pairs": [[_to_stored(key), _to_stored(each)] for key, each in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_to_stored(each) for each in value]
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return {"dtype": np.dtype(value).name}
    if isinstance(value, np.random.Generator):
        return {"generator": _to_stored(value.bit_generator.state)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "mM":
        return {"array": value.astype(np.int64).tolist(), "kind": value.dtype.newbyteorder("=").str}
    if isinstance(value, np.ndarray) and value.dtype not in (np.float32, np.float64):
        return {"array": value.tolist(), "kind": value.dtype.str}  # names, of any kind
    return value


def _from_stored(value: Any) -> Any:
    """Return what `_to_stored` was given; lists for tuples."""
    if isinstance(value, list):
        return [_from_stored(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "dtype" in value:
        return np.dtype(value["dtype"]).type
    if "array" in value:
        return _stored_array(value["array"], np.dtype(value["kind"]))
    if "generator" in value:
        return _generator_of(_from_stored(value["generator"]))
    return {_from_stored(key): _from_stored(each) for key, each in value["pairs"]}


def _stored_array(items: Any, dtype: np.dtype[Any]) -> Any:
    """Return a list as an array of names or numbers; ValueError for a type that no file has."""
    if dtype.kind not in "biufmMUSO" or dtype.subdtype is not None:
        raise ValueError(f"kind: expected numbers, times or names, got {dtype}")
    if dtype.kind in "US" and dtype.itemsize > 4 * max([1, *map(len, map(str, items))]):
        raise ValueError(f"kind: expected one as long as its longest name, got {dtype}")
    return np.array(items, dtype)


def _generator_of(state: Mapping[str, Any]) -> np.random.Generator:
    """Return a generator in the state of another; KeyError if it is of no known kind."""
    random = np.random
    known = (random.PCG64, random.PCG64DXSM, random.MT19937, random.Philox, random.SFC64)
    made = random.Generator({kind.__name__: kind for kind in known}[state["bit_generator"]](0))
    restore(made, state)
    return made

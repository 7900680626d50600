"""Module: flat buffers and views, state dicts, copies, and composites."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import optim
from rnncore.models.initial_state import InitialState
from rnncore.module import Module, loadable_classes

pytestmark = pytest.mark.per_variant

ABSENT = object()
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
}


class Composite(Module):
    """A parameter of its own and two children, one of them a composite or a layer."""

    def __init__(self, core: Module, head: Module) -> None:
        super().__init__({"scale": (3,)}, core.dtype)
        self.core, self.head = core, head
        self.parameters["scale"][...] = [1, 2, 3]
        self._adopt({"core": core, "head": head})

    def forward(self, x: Any) -> Any:
        raise NotImplementedError

    def backward(self, tape: Any, dy: Any) -> Any:
        raise NotImplementedError


def composite() -> Composite:
    inner = Composite(rnncore.GRU(5, 7, 2, bidirectional=True, rng=0), rnncore.LSTM(2, 3, rng=1))
    return Composite(inner, rnncore.RNNCell(4, 5, rng=2))


def check_views(module: Module) -> None:
    """Every array is a live view into the flat buffers, aligned, disjoint, with zeros between."""
    for views, flat in (
        (module.parameters, module.flat_parameters),
        (module.grads, module.flat_grads),
    ):
        before = flat.copy()
        flat[...] = 0
        for i, array in enumerate(views.values(), 1):
            assert array.base is not None
            assert array.ctypes.data % 64 == 0
            assert not array.any()
            array[...] = i
        assert sum(array.size * i for i, array in enumerate(views.values(), 1)) == flat.sum()
        flat[...] = before
    for name, child in module.children.items():
        assert np.shares_memory(child.flat_parameters, module.flat_parameters)
        assert np.shares_memory(child.flat_grads, module.flat_grads)
        for key, array in child.parameters.items():
            assert array.ctypes.data == module.parameters[f"{name}.{key}"].ctypes.data
            assert child.grads[key].ctypes.data == module.grads[f"{name}.{key}"].ctypes.data
        check_views(child)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flat_buffers_of_a_layer(dtype: str) -> None:
    layer = rnncore.LSTM(5, 7, 2, bidirectional=True, dtype=dtype)
    check_views(layer)
    assert layer.num_parameters == 2 * (28 * 5 + 28 * 7 + 56) + 2 * (28 * 14 + 28 * 7 + 56)
    assert layer.flat_parameters.dtype == dtype
    assert layer.flat_parameters.size >= layer.num_parameters
    with pytest.raises(TypeError):
        layer.parameters["weight_ih_l0"] = 0  # type: ignore[index]


def test_a_composite_holds_its_children() -> None:
    gru = rnncore.GRU(5, 7, rng=0)
    gru.flat_grads[...] = 3
    values, x = gru.state_dict(), np.ones((2, 3, 5), np.float32)
    y = gru(x)[0]
    model = Composite(gru, rnncore.LSTM(2, 3))
    check_views(model)
    for name, value in values.items():
        np.testing.assert_array_equal(model.parameters[f"core.{name}"], value)
        np.testing.assert_array_equal(model.grads[f"core.{name}"], 3)
    np.testing.assert_array_equal(model.parameters["scale"], [1, 2, 3])
    np.testing.assert_array_equal(gru(x)[0], y)
    model.flat_parameters[...] = 0
    assert not gru(x)[0].any()  # the layer computes with the composite's buffer
    model.zero_grad()
    y, _, tape = gru.forward(np.ones((2, 3, 5), np.float32))
    gru.backward(tape, np.ones_like(y))
    assert model.grads["core.bias_ih_l0"].any()
    assert not model.grads["head.bias_ih_l0"].any()
    assert list(composite().parameters)[:3] == ["scale", "core.scale", "core.core.weight_ih_l0"]
    check_views(composite())


def test_a_module_joins_one_composite_once() -> None:
    gru = rnncore.GRU(5, 7)
    with pytest.raises(ValueError, match="expected different modules, got one twice"):
        Composite(gru, gru)
    Composite(gru, rnncore.LSTM(2, 3))
    spare = rnncore.LSTM(2, 3)
    with pytest.raises(ValueError, match="core: already part of another model; pass copy"):
        Composite(gru, spare)
    with pytest.raises(ValueError, match="head: expected dtype float32, got float64"):
        Composite(spare, rnncore.LSTM(2, 3, dtype="float64"))
    check_views(Composite(copy.deepcopy(gru), spare))  # the refused calls left them free


@pytest.mark.parametrize("copier", COPIES)
def test_copies_are_alive_and_apart(copier: str) -> None:
    duplicate: Callable[[Any], Any] = COPIES[copier]
    layer = rnncore.LSTM(5, 7, 2, bidirectional=True, dropout=0.5, rng=0)
    layer.flat_grads[...] = 2
    again = duplicate(layer)
    check_views(again)
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(again(x)[0], layer(x)[0])
    np.testing.assert_array_equal(again.flat_grads, layer.flat_grads)
    np.testing.assert_array_equal(again.forward(x)[0], layer.forward(x)[0])  # the same masks
    assert repr(again) == repr(layer)
    again.zero_grad()
    y, _, tape = again.forward(x)
    with pytest.raises(ValueError, match="tape: expected one of this"):
        layer.backward(tape, y)
    again.backward(tape, y)
    assert again.grads["weight_hh_l1_reverse"].any()
    again.flat_parameters[...] = 0
    assert not again(x)[0].any()
    assert layer(x)[0].any()
    np.testing.assert_array_equal(layer.flat_grads, 2)


@pytest.mark.parametrize("copier", COPIES)
def test_copies_of_a_composite(copier: str) -> None:
    model = composite()
    model.flat_grads[...] = np.arange(model.flat_grads.size)
    again = COPIES[copier](model)
    np.testing.assert_array_equal(again.flat_parameters, model.flat_parameters)
    for name, grad in model.grads.items():
        np.testing.assert_array_equal(again.grads[name], grad)
    check_views(again)
    assert again.core.core is again.children["core"].children["core"]
    check_views(Composite(COPIES[copier](model.head), rnncore.GRU(1, 2)))  # free to be adopted
    with pytest.raises(ValueError, match="core: already part"):
        Composite(again.core, rnncore.GRU(1, 2))


MODELS: dict[str, Callable[[], Module]] = {
    "ManyToOne": lambda: rnncore.ManyToOne(rnncore.LSTM(3, 4, rng=0), 2, rng=1),
    "ManyToMany": lambda: rnncore.ManyToMany(rnncore.GRU(3, 4, rng=0), 2, rng=1),
    "OneToMany": lambda: rnncore.OneToMany(
        rnncore.GRU(1, 4, output_size=2, recurrence=("hidden", "output_to_hidden"), rng=0),
        2, vector_size=3, rng=1,
    ),
    "EncoderDecoder": lambda: rnncore.EncoderDecoder(
        rnncore.GRU(3, 4, bidirectional=True, rng=0), rnncore.GRU(3, 4, rng=1), 5,
        target_embedding=rnncore.Embedding(5, 3, rng=2), start_id=0, end_id=1, attention="dot",
        rng=3,
    ),
    "LanguageModel": lambda: rnncore.LanguageModel(rnncore.GRU(4, 4, rng=0), 7, rng=1),
    "DotAttention": lambda: rnncore.DotAttention(4, 6, rng=0),
    "InitialState": lambda: InitialState(3, rnncore.LSTM(2, 4), rng=0),
}  # fmt: skip
DATA = np.random.default_rng(5)
FEATURES = DATA.standard_normal((6, 5, 3)).astype(np.float32)
TRAINING: dict[str, tuple[Any, ...]] = {
    "ManyToOne": (FEATURES, FEATURES[:, 0, :2]),
    "ManyToMany": (FEATURES, FEATURES[:, :, :2]),
    "OneToMany": (FEATURES[:, 0], FEATURES[:, :, :2]),
    "EncoderDecoder": (FEATURES, DATA.integers(2, 5, (6, 4))),
    "LanguageModel": (DATA.integers(0, 7, 200),),
}
each_model = pytest.mark.parametrize("name", MODELS)


@each_model
@pytest.mark.parametrize("copier", COPIES)
def test_a_copy_takes_nothing_from_the_original(copier: str, name: str) -> None:
    model = MODELS[name]()
    buffers = model.flat_parameters, model.flat_grads
    before = model.flat_parameters.copy()
    again: Any = COPIES[copier](model)
    assert model.flat_parameters is buffers[0]
    assert model.flat_grads is buffers[1]
    for one in (model, again):
        check_views(one)
    assert not np.shares_memory(again.flat_parameters, model.flat_parameters)
    again.flat_parameters[...] = 7
    np.testing.assert_array_equal(model.flat_parameters, before)


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("copier", COPIES)
def test_training_goes_on_after_a_copy(copier: str, name: str) -> None:
    """The losses, the original's and the copy's, are those of a run without a copy."""

    def losses(model: Any, epochs: int) -> list[float]:
        options = {"batch_size": 3, "optimizer": optim.SGD(model, 0.3), "progress": False}
        return [model.fit(*TRAINING[name], epochs=1, rng=0, **options).loss[0]
                for _ in range(epochs)]  # fmt: skip

    expected = losses(MODELS[name](), 4)
    assert len(set(expected)) == 4
    model = MODELS[name]()
    begun = losses(model, 2)
    again = COPIES[copier](model)
    assert begun + losses(model, 2) == expected
    assert losses(again, 2) == expected[2:]


@each_model
def test_children_stay_what_they_are(name: str) -> None:
    model = MODELS[name]()
    x = model.flat_parameters.copy()
    names = [key for key, value in vars(model).items() if isinstance(value, Module)]
    assert len(names) == len(model.children)
    for key in names:
        part = getattr(model, key)
        setattr(model, key, part)  # nothing changes
        for other in (copy.deepcopy(part), None):
            with pytest.raises(AttributeError, match=f"^{key}: expected the parts that the {name}"):
                setattr(model, key, other)
        with pytest.raises(AttributeError, match=f"^{key}: expected the parts"):
            delattr(model, key)
        assert getattr(model, key) is part
    with pytest.raises(AttributeError, match=r"^extra: expected the parts that"):
        model.extra = rnncore.Linear(1, 1)  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        model.children["extra"] = rnncore.Linear(1, 1)  # type: ignore[index]
    model.extra = "no module"  # type: ignore[attr-defined]
    np.testing.assert_array_equal(model.flat_parameters, x)
    check_views(model)


def test_a_part_that_a_model_lacks_can_not_be_added() -> None:
    model = rnncore.ManyToOne(rnncore.GRU(3, 4), 2)
    assert model.embedding is None
    with pytest.raises(AttributeError, match=r"^embedding: expected the parts .* got Embedding"):
        model.embedding = rnncore.Embedding(5, 3)


@pytest.mark.parametrize(
    "key", ["parameters", "grads", "flat_parameters", "flat_grads", "children", "dtype"]
)
def test_buffers_are_written_into_and_not_replaced(key: str) -> None:
    for module in (rnncore.LSTM(3, 4), rnncore.Linear(2, 3), composite()):
        for change in (lambda m: setattr(m, key, {}), lambda m: delattr(m, key)):
            with pytest.raises(AttributeError, match=f"^{key}: expected no assignment"):
                change(module)
        check_views(module)
        module.flat_parameters *= 2  # in place
        check_views(module)


def test_a_state_with_children_of_another_is_refused() -> None:
    """What copy.copy would do by itself: a second parent for the same children."""
    model = composite()
    other = composite()
    before = other.flat_parameters
    with pytest.raises(
        ValueError, match=r"^core: already part of another model; use copy\.deepcopy"
    ):
        other.__setstate__(model.__getstate__())
    assert other.flat_parameters is before
    check_views(model)
    check_views(other)


@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2},
    {"output_size": 2, "recurrence": ("hidden", "output_to_hidden")},
    {"output_size": 2, "recurrence": ("output_to_hidden",), "dtype": "float64"},
])  # fmt: skip
def test_a_tape_serves_after_its_layer_has_moved(options: dict[str, Any]) -> None:
    """Into a model, or as a copy: the gradients arrive where the layer's are now."""
    layer = rnncore.LSTM(3, 4, rng=0, **options)
    x = FEATURES.astype(layer.dtype)
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    expected = layer.flat_grads.copy()
    assert expected.any()
    for copier in (copy.deepcopy, COPIES["pickle"]):
        layer.zero_grad()
        again, copied = copier((layer, layer.forward(x)[2]))
        again.backward(copied, y)
        np.testing.assert_array_equal(again.flat_grads, expected)
        assert not layer.flat_grads.any()
    tape = layer.forward(x)[2]
    rnncore.ManyToMany(layer, layer.output_size or 1)
    layer.backward(tape, y)
    np.testing.assert_array_equal(layer.flat_grads, expected)


def test_a_tape_of_a_cell_serves_after_its_cell_has_moved() -> None:
    cell = rnncore.GRUCell(3, 4, rng=0)
    h, tape = cell.forward(FEATURES[:, 0])
    Composite(rnncore.RNN(1, 2), cell)
    cell.backward(tape, h)
    assert cell.flat_grads.any()


def test_an_optimizer_made_before_its_layer_joined_a_model() -> None:
    layer = rnncore.LSTM(3, 4, rng=0)
    adam = optim.Adam(layer, 0.1)
    model = rnncore.ManyToOne(layer, 2, rng=1)
    before = model.state_dict()
    model.flat_grads[...] = 1
    adam.step()
    after = model.state_dict()
    np.testing.assert_array_equal(after["head.weight"], before["head.weight"])
    np.testing.assert_allclose(
        after["core.weight_hh_l0"], before["core.weight_hh_l0"] - 0.1, atol=1e-6
    )


def test_a_pickle_holds_each_number_once() -> None:
    layer = rnncore.LSTM(30, 60)
    model = Composite(layer, rnncore.GRU(1, 2))
    assert len(pickle.dumps(model)) < 2.2 * model.flat_parameters.nbytes  # values and gradients


def test_state_dict_round_trip() -> None:
    model, other = composite(), composite()
    values = model.state_dict()
    assert list(values) == list(model.parameters)
    other.flat_parameters[...] = 0
    other.load_state_dict(values)
    np.testing.assert_array_equal(other.flat_parameters, model.flat_parameters)
    before = model.flat_parameters.copy()
    for value in values.values():
        value[...] = 9  # copies, so the model does not change
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_a_state_dict_of_views_into_the_module_itself() -> None:
    layer = rnncore.LSTM(5, 5)
    expected = layer.state_dict()
    layer.load_state_dict(
        dict(layer.parameters)
        | {
            "weight_ih_l0": layer.parameters["weight_hh_l0"],
            "weight_hh_l0": layer.parameters["weight_ih_l0"],
        }
    )
    np.testing.assert_array_equal(layer.parameters["weight_ih_l0"], expected["weight_hh_l0"])
    np.testing.assert_array_equal(layer.parameters["weight_hh_l0"], expected["weight_ih_l0"])


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"bias_hh_l0": None}, TypeError, "bias_hh_l0: expected real numbers"),
        ({"bias_hh_l0": np.zeros(27)}, ValueError, "bias_hh_l0: expected shape (28,), got (27,)"),
        ({"bias_hh_l0": np.zeros((28, 1))}, ValueError, "bias_hh_l0: expected shape (28,), got"),
        ({"bias_hh_l0": np.zeros(28, complex)}, TypeError, "bias_hh_l0: expected real numbers"),
        ({"bias_hh_l0": "text"}, TypeError, "bias_hh_l0: expected real numbers"),
        ({"extra": np.zeros(3)}, KeyError, "missing [], unexpected ['extra']"),
        ({"bias_hh_l0": ABSENT}, KeyError, "missing ['bias_hh_l0'], unexpected []"),
    ],
)
def test_a_failing_load_changes_nothing(
    change: dict[str, Any], error: type[Exception], text: str
) -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    before = layer.flat_parameters.copy()
    nines = {name: np.full_like(array, 9) for name, array in layer.parameters.items()}
    values = {name: value for name, value in (nines | change).items() if value is not ABSENT}
    with pytest.raises(error, match=re.escape(text)):
        layer.load_state_dict(values)
    np.testing.assert_array_equal(layer.flat_parameters, before)


def test_a_load_that_is_not_strict_passes_over_other_names() -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    before = layer.state_dict()
    passed = layer.load_state_dict({"bias_hh_l0": np.full(28, 9), "extra": "text"}, strict=False)
    assert passed.missing == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0"]
    assert passed.unexpected == ["extra"]
    assert layer.load_state_dict(layer.state_dict()) == ([], [])
    assert layer.load_state_dict(layer.state_dict(), strict=False) == ([], [])
    np.testing.assert_array_equal(layer.parameters["bias_hh_l0"], 9)
    np.testing.assert_array_equal(layer.parameters["weight_hh_l0"], before["weight_hh_l0"])
    with pytest.raises(TypeError, match="state_dict: expected a mapping, got list"):
        layer.load_state_dict([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="strict: expected True or False, got 'no'"):
        layer.load_state_dict(before, strict="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bias_hh_l0: expected shape"):
        layer.load_state_dict({"bias_hh_l0": np.zeros(3)}, strict=False)


@each_model
@pytest.mark.parametrize("change", ["model.{}", "", "{}.0"])
def test_a_load_that_finds_nothing_warns(name: str, change: str) -> None:
    model = MODELS[name]()
    before = model.flat_parameters.copy()
    values = {change.format(key): np.ones(1) for key in model.parameters} if change else {}
    got = f"names such as '{change.format(next(iter(model.parameters)))}'" if change else "no names"
    with pytest.warns(UserWarning, match=f"{re.escape(got)}; nothing was loaded") as caught:
        passed = model.load_state_dict(values, strict=False)
    assert caught[0].filename == __file__
    assert passed == (list(model.parameters), list(values))
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_a_load_that_overflows_changes_nothing() -> None:
    layer = rnncore.GRU(2, 3, rng=0)
    before = layer.flat_parameters.copy()
    values = layer.state_dict() | {"bias_hh_l0": np.full(9, 1e300)}
    values["weight_ih_l0"] *= 0
    with pytest.raises(RuntimeWarning):  # filterwarnings: error
        layer.load_state_dict(values)
    np.testing.assert_array_equal(layer.flat_parameters, before)


def test_loading_rounds_to_the_dtype() -> None:
    layer = rnncore.GRU(2, 3)
    values = np.linspace(0, 1, 9)
    layer.load_state_dict({"bias_hh_l0": values}, strict=False)
    np.testing.assert_array_equal(layer.parameters["bias_hh_l0"], values.astype(np.float32))


# --- abstract classes and the registry ----------------------------------------------------------


@pytest.mark.parametrize("cls", [Module, rnncore.models.Model])
def test_abstract_classes_make_no_objects(cls: Any) -> None:
    with pytest.raises(TypeError, match="abstract"):
        cls({})


def test_a_loadable_name_belongs_to_one_class() -> None:
    with pytest.raises(TypeError, match=r"LSTM: .* has a loadable class so named"):
        type("LSTM", (rnncore.GRU,), {}, loadable=True)
    assert loadable_classes()["LSTM"] is rnncore.LSTM


# --- gradients after an error -------------------------------------------------------------------


def test_an_error_leaves_the_gradients_unchanged() -> None:
    model = composite()
    model.flat_grads[...] = 3
    before = model.flat_grads.copy()
    with pytest.raises(KeyError), model.unchanged_on_error():  # noqa: PT012
        model.flat_grads[...] = 7
        raise KeyError
    np.testing.assert_array_equal(model.flat_grads, before)
    with model.unchanged_on_error():
        model.flat_grads[...] = 7
    assert (model.flat_grads == 7).all()


def test_only_the_outermost_guard_restores() -> None:
    """A child's guard inside its parent's copies nothing; another module's has its own copy."""
    model, other = composite(), rnncore.GRU(2, 3, rng=0)
    child = model.children["core"]
    with pytest.raises(KeyError), model.unchanged_on_error():  # noqa: PT012
        model.flat_grads[...] = 5
        with pytest.raises(ValueError, match="inner"), child.unchanged_on_error():  # noqa: PT012
            child.flat_grads[...] = 6
            raise ValueError("inner")
        assert (child.flat_grads == 6).all()  # left to the outer one
        with pytest.raises(ValueError, match="other"), other.unchanged_on_error():  # noqa: PT012
            other.flat_grads[...] = 6
            raise ValueError("other")
        assert not other.flat_grads.any()
        with pytest.raises(ValueError, match="again"), child.unchanged_on_error():
            raise ValueError("again")
        raise KeyError
    assert not model.flat_grads.any()


def test_gradients_that_were_zero_are_zero_after_an_error() -> None:
    model = composite()
    with pytest.raises(KeyError), model.zero_on_error():  # noqa: PT012
        model.children["core"].flat_grads[...] = 7
        raise KeyError
    assert not model.flat_grads.any()

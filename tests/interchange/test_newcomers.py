"""What people of other libraries pass by mistake: each error says what came and what to do."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import child
import numpy as np
import pytest
import rnncore
from errors import raises
from rnncore.keras import from_keras, load_weights

pytestmark = pytest.mark.once

KNOWN = "RNN, GRU, LSTM, RNNCell, GRUCell, LSTMCell, Linear or Embedding"


class Stranger:
    """A layer of Keras, as far as its class says."""


Stranger.__module__ = "keras.layers"


def linear() -> Any:
    return rnncore.Linear(2, 1, rng=0)


def test_a_list_of_layers() -> None:
    """Keras' Sequential takes one."""
    with raises(TypeError, "layers: expected Sequential(*layers), got a list of them"):
        rnncore.Sequential([rnncore.GRU(3, 2), linear()])  # type: ignore[arg-type]


def test_another_librarys_model() -> None:
    text = "module: expected a layer or a model, got Stranger of keras; "
    with raises(TypeError, f"{text}rnncore.keras.from_keras makes one of it"):
        rnncore.optim.Adam(Stranger(), 0.1)
    with raises(TypeError, f"{text}rnncore.keras.from_keras makes one of it"):
        rnncore.optim.clip_grad_norm(Stranger(), 1.0)
    with raises(TypeError, "...Reversal, got Stranger of keras; rnncore.keras.from_keras makes "
                           "one of it"):  # fmt: skip
        rnncore.Sequential(Stranger())
    with raises(TypeError, "module: expected a layer or a model, got the class GRU, not an "
                           "object of it"):  # fmt: skip
        rnncore.optim.Adam(rnncore.GRU, 0.1)


def test_another_librarys_loss() -> None:
    text = "loss: expected a name or a function of arrays, got Stranger of keras"
    with raises(TypeError, text):
        rnncore.ManyToOne(rnncore.GRU(3, 2), 1, loss=Stranger())


def test_weights_of_a_whole_model() -> None:
    """One prefix before all names is named; the layer stays as it was."""
    layer, whole = rnncore.GRU(3, 2, rng=0), rnncore.ManyToOne(rnncore.GRU(3, 2, rng=1), 1, rng=1)
    before = layer.flat_parameters.copy()
    with raises(KeyError, "\"state_dict: expected names without 'core.' in front\""):
        layer.load_state_dict(whole.state_dict())
    wrapped = {f"module.{name}": value for name, value in layer.state_dict().items()}
    with raises(KeyError, "\"state_dict: expected names without 'module.' in front\""):
        layer.load_state_dict(wrapped)
    del wrapped["module.bias_hh_l0"]
    with pytest.raises(KeyError, match=r"^\"state_dict: missing .*'bias_hh_l0'.* unexpected"):
        layer.load_state_dict(wrapped)
    np.testing.assert_array_equal(layer.flat_parameters, before)


@pytest.mark.parametrize("call", [
    lambda: rnncore.load(linear()),
    lambda: rnncore.save(linear(), 5.5),
    lambda: load_weights(linear(), linear()),
])  # fmt: skip
def test_no_path(call: Any) -> None:
    with pytest.raises(TypeError, match=r"^path: expected a path, got (Linear|float)$"):
        call()


def test_files_that_are_not_of_keras(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"")
    advice = "build the model, then call model.load_state_dict"
    for read in (from_keras, lambda path: load_weights(linear(), path)):
        with pytest.raises(rnncore.CheckpointError, match=f"got a PyTorch file: {advice}"):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"")
    with pytest.raises(
        rnncore.CheckpointError, match=r"expected a \.keras file, got a zip archive"
    ):
        from_keras(path)
    path.write_bytes(b"\x08\x08\x12\x07 and so on")
    with pytest.raises(rnncore.CheckpointError, match=r"expected a \.keras file, got an ONNX file"):
        from_keras(path)


def test_a_class_of_keras() -> None:
    class Layer(Stranger):
        get_config = get_weights = json.dumps

    with raises(TypeError, "source: expected a layer or model of Keras, or the path of a .keras "
                           "file, got the class Layer, not an object of it"):  # fmt: skip
        from_keras(Layer)


def test_files_that_are_not_of_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="graphs: onnx is not installed")
    import rnncore.onnx

    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with raises(rnncore.onnx.OnnxError, f"{path}: expected an ONNX file, got one numpy array: "
                                        "read it with numpy.load(path)"):  # fmt: skip
        rnncore.onnx.load(path)
    path.write_bytes(b"\x08\x08\x12\xff\xff\xff\xff")
    with pytest.raises(rnncore.onnx.OnnxError, match="damaged, or no ONNX file"):
        rnncore.onnx.load(path)
    with raises(TypeError, "model: expected a layer or a model, got Stranger of keras; "
                           "rnncore.keras.from_keras makes one of it"):  # fmt: skip
        rnncore.onnx.export(Stranger())  # type: ignore[arg-type]
    with raises(TypeError, "path: expected a path, got Linear"):
        rnncore.onnx.export(linear(), linear())


def test_a_saved_graph_says_what_to_import(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="graphs: onnx is not installed")
    import rnncore.onnx

    path = tmp_path / "graph.safetensors"
    rnncore.onnx.load(rnncore.onnx.export(linear())).save(path)
    code = f"import rnncore\ntry: rnncore.load({str(path)!r})\nexcept Exception as e: print(e)"
    assert child.run(code).strip() == (
        f"{path}: the configuration fits no model: Graph: expected `import rnncore.onnx` before it "
        "is loaded"
    )
    code = f"import rnncore, rnncore.onnx; print(type(rnncore.load({str(path)!r})).__name__)"
    assert child.run(code).strip() == "Graph"


def test_what_is_no_module_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="modules: torch is not installed")
    from rnncore.torch import accelerate, from_torch, restore, to_torch

    module = torch.nn.GRU(3, 2)
    advice = "weights alone say no options: build the module, load them there, and pass it"
    for name, call in (("model", accelerate), ("model", restore), ("module", from_torch)):
        text = f"{name}: expected a torch.nn.Module, got"
        with raises(TypeError, f"{text} OrderedDict; {advice}"):
            call(module.state_dict())
        with raises(TypeError, f"{text} str; build the module, load_state_dict(torch.load(path)), "
                               "and pass it"):  # fmt: skip
            call("model.pt")
        with raises(TypeError, f"{text} the class GRU, not an object of it"):
            call(torch.nn.GRU)
        with raises(TypeError, f"{text} GRU of rnncore"):
            call(rnncore.GRU(3, 2))
    other = type("GRU", (torch.nn.GRU,), {"forward": None, "__module__": "mine.layers"})(3, 2)
    with raises(TypeError, f"module: expected a torch.nn {KNOWN}, or a whole model with task=, got "
                           "GRU of mine.layers"):  # fmt: skip
        from_torch(other)
    with raises(TypeError, "module: expected a layer or model of rnncore, got GRU of torch"):
        to_torch(module)
    with raises(TypeError, f"module: expected {KNOWN}, or ManyToOne, ManyToMany or LanguageModel, "
                           "got Sequential"):  # fmt: skip
        to_torch(rnncore.Sequential(rnncore.GRU(3, 2)))
    with raises(TypeError, "loss: expected a name or a function of arrays, got MSELoss of torch"):
        rnncore.ManyToOne(rnncore.GRU(3, 2), 1, loss=torch.nn.MSELoss())
    loss = torch.nn.functional.mse_loss
    with raises(TypeError, "loss: expected a name or a function of arrays, got mse_loss of torch"):
        rnncore.ManyToOne(rnncore.GRU(3, 2), 1, loss=loss)


@pytest.mark.parametrize(("package", "use"), [
    ("torch", "import rnncore.torch"),
    ("onnx", "import rnncore.onnx"),
    ("h5py", "from rnncore.keras._hdf5 import import_h5py; import_h5py()"),
])  # fmt: skip
def test_a_broken_package_says_itself_what_is_wrong(package: str, use: str) -> None:
    """One that is there and fails is not said to be missing."""
    code = (
        "import sys, importlib.abc\n"
        "class Broken(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {package!r}: raise ModuleNotFoundError('half there', name='other')\n"
        "sys.meta_path.insert(0, Broken())\n"
        f"try: {use}\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    assert child.run(code).strip() == "ModuleNotFoundError half there"

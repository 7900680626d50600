"""Other libraries before and after rnncore, the weakest variant, more than one interpreter."""

from __future__ import annotations

import importlib.util
import sys

import child
import pytest

pytestmark = pytest.mark.once

USE = {
    "rnncore": "rnncore.set_num_threads(2)\nlayer = rnncore.LSTM(64, 128, rng=0)\n"
    "x = np.random.default_rng(0).standard_normal((32, 20, 64)).astype(np.float32)\n"
    "y = layer(x)[0]\n",
    "torch": "torch.set_num_threads(2)\n(torch.ones(400, 400) @ torch.ones(400, 400)).sum()\n",
    "onnxruntime": "onnxruntime.SessionOptions()\n",
    "sklearn": "from sklearn.linear_model import Ridge\nRidge().fit(np.eye(50), np.ones(50))\n",
}
CHECK = """
peer = layer.forward(x)[0]
assert np.isfinite(y).all() and np.array_equal(peer, layer.forward(x)[0])
np.testing.assert_allclose(peer, y, atol=1e-5)
rnncore.set_num_threads(1)
assert np.array_equal(layer(x)[0], y)
"""


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", ["torch", "onnxruntime", "sklearn"])
def test_either_order(other: str, first: bool) -> None:
    pytest.importorskip(other)
    order = [other, "rnncore"] if first else ["rnncore", other]
    imports = "import numpy as np\n" + "".join(f"import {name}\n" for name in order)
    child.run(imports + "".join(USE[name] for name in order) + USE["rnncore"] + CHECK)


def test_a_cpu_without_avx2() -> None:
    """The variant that such a machine gets, with all that a training needs."""
    child.run(
        "import numpy as np, rnncore\nassert rnncore.isa() == 'base'\n"
        + USE["rnncore"]
        + CHECK
        + "model = rnncore.ManyToOne(rnncore.GRU(64, 32, rng=0), 2, rng=0)\n"
        "history = model.fit(x, np.ones((32, 2)), epochs=3, progress=False, rng=0)\n"
        "assert history.loss[-1] < history.loss[0]\n",
        RNNCORE_ISA="base",
    )


LOCK_OFF = """
import sys
sys._is_gil_enabled = lambda: False  # as with PYTHON_GIL=0 on a free-threaded Python
try:
    import rnncore
except ImportError as error:
    print(error)
"""


def test_python_without_the_global_lock_is_refused() -> None:
    said = child.run(LOCK_OFF)
    assert said.startswith("rnncore: expected a Python with its global interpreter lock")
    assert "PYTHON_GIL=0" in said
    assert child.run(LOCK_OFF.replace("False", "True")) == ""


INTERPRETER = """
import _xxsubinterpreters as interpreters, sys
import numpy as np, rnncore
layer = rnncore.LSTM(64, 128, rng=0)
x = np.ones((4, 5, 64), np.float32)
y = layer(x)[0]
other = interpreters.create()
try:
    interpreters.run_string(other, '''
import numpy as np
import rnncore
layer = rnncore.LSTM(64, 128, rng=0)
y = layer(np.ones((4, 5, 64), np.float32))[0]
assert np.isfinite(y).all() and y.any()
''')
except interpreters.RunFailedError as error:
    assert "ImportError" in str(error), error
    print("refused")
else:
    print("works")
assert np.array_equal(layer(x)[0], y)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("_xxsubinterpreters") is None, reason="another name since 3.13"
)
def test_another_interpreter_in_the_process() -> None:
    """It works, or is refused by an ImportError; the first one goes on."""
    assert child.run(INTERPRETER).strip() in ("works", "refused"), sys.version

"""What reliability_peers.py tries: for each library a small program that prints what happened."""

from __future__ import annotations

from typing import NamedTuple

LIBRARIES = ("rnncore", "torch", "ONNX Runtime")

# What every program begins with. `run(x, lengths)` is one LSTM: I 16, H 64 unless told otherwise.
PREPARE = {
    "rnncore": """
import numpy as np, rnncore
def lstm(I=16, H=64):
    return rnncore.LSTM(I, H, rng=0)
def call(layer, x, lengths=None):
    return layer(x, lengths=lengths)
""",
    "torch": """
import numpy as np, torch, warnings
warnings.simplefilter("ignore")
def lstm(I=16, H=64):
    torch.manual_seed(0)
    return torch.nn.LSTM(I, H, batch_first=True)
def call(layer, x, lengths=None):
    x = torch.as_tensor(x)
    with torch.no_grad():
        if lengths is None:
            y, (h, c) = layer(x)
        else:
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                x, torch.as_tensor(lengths), batch_first=True, enforce_sorted=False)
            y, (h, c) = layer(packed)
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
    return y.numpy(), (h.numpy(), c.numpy())
""",
    "ONNX Runtime": """
import numpy as np, onnx, onnxruntime
from onnx import TensorProto as T, helper as make
onnxruntime.set_default_logger_severity(4)
def model(I=16, H=64):
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 4 * H, I), "R": (1, 4 * H, H)}
    numbers = [onnx.numpy_helper.from_array(
        (rng.standard_normal(s) / H**0.5).astype("f4"), n) for n, s in shapes.items()]
    node = make.make_node("LSTM", ["x", "W", "R", "", "lengths"], ["y", "h", "c"], hidden_size=H)
    inputs = [make.make_tensor_value_info("x", T.FLOAT, ["T", "B", I]),
              make.make_tensor_value_info("lengths", T.INT32, ["B"])]
    outputs = [make.make_tensor_value_info(n, T.FLOAT, None) for n in "yhc"]
    graph = make.make_graph([node], "g", inputs, outputs, numbers)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
def lstm(I=16, H=64):
    return onnxruntime.InferenceSession(
        model(I, H).SerializeToString(), providers=["CPUExecutionProvider"])
def call(layer, x, lengths=None):
    x = np.swapaxes(x, 0, 1)
    lengths = np.full(x.shape[1], x.shape[0]) if lengths is None else np.asarray(lengths)
    y, h, c = layer.run(None, {"x": x, "lengths": lengths.astype("i4")})
    return np.swapaxes(y[:, 0], 0, 1), (h, c)
""",
}

# How each saves and loads a model.
FILES = {
    "rnncore": """
def save(layer, path): rnncore.save(layer, path)
def load(path): return rnncore.load(path)
def numbers(layer): return layer.flat_parameters.tobytes()
""",
    "torch": """
def save(layer, path): torch.save(layer.state_dict(), path)
def load(path):
    layer = lstm(64, 256)
    layer.load_state_dict(torch.load(path))
    return layer
def numbers(layer): return b"".join(p.detach().numpy().tobytes() for p in layer.parameters())
""",
    "ONNX Runtime": """
lstm = model
def save(layer, path): onnx.save(layer, path)
def load(path):
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return onnx.load(path)
def numbers(layer): return b"".join(each.raw_data for each in layer.graph.initializer)
""",
}

# A loss of 4,096 labels while another thread writes other labels into the array.
LABELS = {
    "rnncore": "def loss(): rnncore.losses.softmax_cross_entropy(logits, labels)",
    "torch": """
labels_of, logits_of = torch.from_numpy(labels), torch.from_numpy(logits)
def loss(): torch.nn.functional.cross_entropy(logits_of, labels_of)
""",
}

# One training step's gradient of a long sequence.
BACKWARD = {
    "rnncore": """
def work():
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
""",
    "torch": """
tensor = torch.as_tensor(x)
def work(): layer(tensor)[0].sum().backward()
""",
}


class Trial(NamedTuple):
    """A thing that people do, as the end of a program; libraries that can not are left out."""

    name: str
    code: str
    libraries: tuple[str, ...] = LIBRARIES
    more: dict[str, str] | None = None
    seconds: float = 60


_RESULT = """
try:
    y, (h, c) = call(layer, x, lengths)
except Exception as error:
    print(type(error).__name__ + ": " + str(error).replace("\\n", " "))
else:
    print(describe(y, h))
"""

_INTERRUPT = """
import os, signal, threading, time
rng = np.random.default_rng(0)
layer, x = lstm(256, 512), rng.standard_normal((8, 12000, 256)).astype("f4")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
"""

_INTERRUPTED = """
sent = []
def send():
    time.sleep(0.5)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=send)
start = time.perf_counter()
thread.start()
try:
    work()
    thread.join()
    time.sleep(0.1)
    print("done before the signal came")
except KeyboardInterrupt:
    print(f"KeyboardInterrupt after {time.perf_counter() - sent[0]:.2f} s")
"""

_SAVING = """
import os, signal, subprocess, sys, tempfile, threading, time, random
layer = lstm(64, 256)
folder = tempfile.mkdtemp()
path = os.path.join(folder, "model.onnx")
save(layer, path)
whole = numbers(load(path))
assert numbers(load(path)) == whole
"""

TRIALS = (
    Trial(
        "no sequences (B = 0)",
        'layer, x, lengths = lstm(), np.zeros((0, 5, 16), "f4"), None\n'
        'def describe(y, h): return f"y of shape {y.shape}"\n' + _RESULT,
    ),
    Trial(
        "no steps (T = 0)",
        'layer, x, lengths = lstm(), np.zeros((3, 0, 16), "f4"), None\n'
        'def describe(y, h): return f"y of shape {y.shape}"\n' + _RESULT,
    ),
    Trial(
        "a length of 0 beside others",
        'layer, x, lengths = lstm(), np.ones((3, 5, 16), "f4"), [5, 0, 2]\n'
        'def describe(y, h): return "answered, finite" if np.isfinite(h).all() else "not finite"\n'
        + _RESULT,
    ),
    Trial(
        "a length beyond T",
        'layer, x, lengths = lstm(), np.ones((3, 5, 16), "f4"), [5, 9, 2]\n'
        'def describe(y, h): return "answered"\n' + _RESULT,
    ),
    Trial(
        "NaN in padding",
        'layer, x, lengths = lstm(), np.ones((3, 5, 16), "f4"), [5, 1, 2]\n'
        "x[1, 1:] = np.nan\n"
        'def describe(y, h): return "does not matter" if np.isfinite(y).all() else "comes out"\n'
        + _RESULT,
    ),
    Trial(
        "complex numbers",
        'layer, x, lengths = lstm(), np.ones((3, 5, 16), "c8"), None\n'
        'def describe(y, h): return "taken"\n' + _RESULT,
    ),
    Trial(
        "a fork after use",
        'import os, signal, time\nlayer, x = lstm(64, 512), np.ones((64, 50, 64), "f4")\n'
        "expected = call(layer, x)[0]\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if np.array_equal(call(layer, x)[0], expected) else 1)\n"
        "end = time.monotonic() + 20\n"
        "while time.monotonic() < end:\n"
        "    done, status = os.waitpid(child, os.WNOHANG)\n"
        "    if done:\n"
        "        print('works, the same bits' if status == 0 else f'child ends with {status}')\n"
        "        break\n"
        "    time.sleep(0.05)\n"
        "else:\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    print('the child hangs (20 s)')\n",
    ),
    Trial(
        "Ctrl-C in inference",
        _INTERRUPT + "def work(): call(layer, x)\n" + _INTERRUPTED,
        seconds=180,
    ),
    Trial(
        "Ctrl-C in a training step",
        _INTERRUPT + "{more}" + _INTERRUPTED,
        ("rnncore", "torch"),
        BACKWARD,
        180,
    ),
    Trial(
        "8 programs end while a daemon thread computes",
        "import os, subprocess, sys, threading, time\n"
        "if 'again' not in os.environ:\n"
        "    code = open('/proc/self/cmdline').read().split(chr(0))[2]\n"
        "    one = [sys.executable, '-c', code]\n"
        "    def end():\n"
        "        try:\n"
        "            again = os.environ | {'again': '1'}\n"
        "            done = subprocess.run(one, env=again, capture_output=True, timeout=60)\n"
        "        except subprocess.TimeoutExpired:\n"
        "            return 'hang'\n"
        "        return 'abort' if done.returncode else 'end well'\n"
        "    ends = [end() for _ in range(8)]\n"
        "    print(', '.join(f'{ends.count(each)} {each}' for each in sorted(set(ends))))\n"
        "    sys.exit()\n"
        'layer, x = lstm(64, 512), np.ones((16, 200, 64), "f4")\n'
        "def work():\n"
        "    while True:\n"
        "        call(layer, x)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.3)\n",
        seconds=500,
    ),
    Trial(
        "labels that another thread changes, 5 s",
        "import threading, time\n"
        "rng = np.random.default_rng(0)\n"
        'logits = rng.standard_normal((4096, 64)).astype("f4")\n'
        "labels = rng.integers(0, 64, 4096)\n"
        "def change():\n"
        "    while True:\n"
        "        labels[:] = 10**12\n"
        "        labels[:] = 1\n"
        "{more}\n"
        "threading.Thread(target=change, daemon=True).start()\n"
        "end = time.monotonic() + 5\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        loss()\n"
        "    except (ValueError, IndexError):\n"
        "        pass\n"
        "import os\n"
        "print('goes on', flush=True)\n"
        "os._exit(0)\n",
        ("rnncore", "torch"),
        LABELS,
    ),
    Trial(
        "threads that the system cannot start",
        "import os, resource, sys\n"
        "if 'again' not in os.environ:\n"
        "    resource.setrlimit(resource.RLIMIT_STACK, (2**30, resource.RLIM_INFINITY))\n"
        "    code = open('/proc/self/cmdline').read().split(chr(0))[2]\n"
        "    os.execve(sys.executable, [sys.executable, '-c', code], os.environ | {'again': '1'})\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))\n"
        'layer, x = lstm(64, 512), np.ones((64, 50, 64), "f4")\n'
        "call(layer, x)\n"
        "print('runs on fewer')\n",
    ),
    Trial(
        "20 kills while saving",
        _SAVING + "lost = 0\n"
        "for kill in range(20):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        while True:\n"
        "            save(layer, path)\n"
        "    time.sleep(0.02 + 0.003 * kill)\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    os.waitpid(child, 0)\n"
        "    try:\n"
        "        lost += numbers(load(path)) != whole\n"
        "    except Exception:\n"
        "        lost += 1\n"
        "    save(layer, path)\n"
        "print(f'the file is lost {lost} times' if lost else 'a whole file each time')\n",
        more=FILES,
    ),
    Trial(
        "a limit on file size (a full disk) while saving",
        "import resource\n" + _SAVING + "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    save(layer, path)\n"
        "    said = 'no error'\n"
        "except Exception as error:\n"
        "    said = type(error).__name__\n"
        "try:\n"
        "    kept = numbers(load(path)) == whole\n"
        "except Exception:\n"
        "    kept = False\n"
        "print(said + (', the old file stays' if kept else ', the old file is lost'))\n",
        more=FILES,
    ),
    Trial(
        "200 single flipped bits in a file",
        _SAVING + "data = bytearray(open(path, 'rb').read())\n"
        "random.seed(0)\n"
        "silent = 0\n"
        "for bit in random.sample(range(8 * len(data)), 200):\n"
        "    data[bit // 8] ^= 1 << bit % 8\n"
        "    open(path, 'wb').write(data)\n"
        "    data[bit // 8] ^= 1 << bit % 8\n"
        "    try:\n"
        "        silent += numbers(load(path)) != whole\n"
        "    except Exception:\n"
        "        pass\n"
        "print(f'{silent} load other numbers without a word')\n",
        more=FILES,
        seconds=120,
    ),
    Trial(
        "a file cut at 200 places",
        _SAVING + "data = open(path, 'rb').read()\n"
        "random.seed(0)\n"
        "taken, kinds = 0, set()\n"
        "for size in random.sample(range(len(data)), 200):\n"
        "    open(path, 'wb').write(data[:size])\n"
        "    try:\n"
        "        load(path)\n"
        "        taken += 1\n"
        "    except Exception as error:\n"
        "        kinds.add(type(error).__name__)\n"
        "said = f'{taken} are loaded; ' if taken else 'all refused: '\n"
        "print(said + ', '.join(sorted(kinds)))\n",
        more=FILES,
        seconds=120,
    ),
)

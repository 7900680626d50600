"""Files of other libraries, told by their first bytes, and what to do with each."""

from __future__ import annotations

_LOAD = "build the model, then call model.load_state_dict"
_ZIP = b"PK\x03\x04"
_TORCH = f"a PyTorch file: {_LOAD}(torch.load(path, weights_only=True))"
_KERAS = "a Keras file: read it with rnncore.keras.from_keras(path)"
ONNX = "an ONNX file: read it with rnncore.onnx.load(path)"
_HDF5 = (
    "an HDF5 file, weights of Keras perhaps: build the model, then call "
    "rnncore.keras.load_weights(model, path)"
)

# What a zip archive is, by a name that its bytes hold.
_ARCHIVES = (
    (b"data.pkl", _TORCH),
    (b"model.weights.h5", _KERAS),
    (b".npy", f"an archive of numpy arrays: {_LOAD}(numpy.load(path))"),
)
_KINDS = (
    (b"\x89HDF\r\n\x1a\n", _HDF5),
    (b"\x93NUMPY", "one numpy array: read it with numpy.load(path)"),
    (b"GGUF", "a GGUF file, which rnncore does not read"),
    (_ZIP, "a zip archive, which rnncore does not read"),
)
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_STARTS_OF_ONNX = (
    tuple(  # field 1 is the version of its format; then follow text, numbers, a model or graph
        b"\x08" + bytes([version, field])
        for version in range(1, 32)
        for field in b"\x12\x1a\x22\x28\x32\x3a"
    )
)
SAFETENSORS = f"a safetensors file of another library: {_LOAD}(safetensors.numpy.load_file(path))"


def foreign_file(data: bytes) -> str | None:
    """Return what a file of another library is and what to do with it; None for all others.

    Nothing is unpacked or run: a few bytes are compared.
    """
    if data[8:9] == b"{":  # safetensors, whose length may begin as any other file does
        return None
    if data.startswith(_ZIP):
        for name, text in _ARCHIVES:
            if name in data:
                return text
    for start, text in _KINDS:
        if data.startswith(start):
            return text
    if data.startswith(_PICKLES):
        return f"a pickle, of PyTorch perhaps, which rnncore never runs: {_LOAD}(arrays by name)"
    if data.startswith(_STARTS_OF_ONNX):
        return ONNX
    return None

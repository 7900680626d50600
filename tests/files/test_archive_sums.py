"""Archives and graphs whose parts are small and whose sum is not."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import child
import numpy as np
import pytest
from rnncore.datasets import sources
from rnncore.datasets.sources import Source

pytestmark = pytest.mark.once

MANY = """
import resource, sys, warnings, zipfile
from pathlib import Path
from rnncore.datasets.sources import Source
folder = Path({folder!r})
warnings.simplefilter("ignore")  # of names that come twice
with zipfile.ZipFile(folder / "pack-1.whl", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
    for i in range(8):
        archive.writestr({name}, bytes(1 << 25))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Source("pack", "1", {pattern!r}, "", dict).find(folder)
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("name", "pattern"), [("'pack/a.txt'", "pack/a.txt"), ("f'pack/{i}.txt'", "pack/*.txt")]
)
def test_members_of_a_zip_are_bounded_in_all(name: str, pattern: str, tmp_path: Path) -> None:
    """256 MB, of which the file has one: a member 8 times, or 8 members."""
    code = MANY.replace("{folder!r}", repr(str(tmp_path))).replace("{name}", name)
    said, peak = child.run(code.replace("{pattern!r}", repr(pattern))).splitlines()
    assert "pack-1.whl: damaged (expected at most 67108864 bytes in all, got more)" in said
    assert int(peak) < 180  # MB


def packed(folder: Path, sizes: dict[str, int]) -> Source:
    with tarfile.open(folder / "pack-1.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, size in sizes.items():
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    return Source("pack", "1", "pack/*.txt", "", dict)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"pack/a.txt": 60, "pack/b.txt": 40}, None),
        ({"pack/a.txt": 60, "pack/b.txt": 41}, "at most 100 bytes in all"),
        ({"pack/a.txt": 60, "pack/other": 440}, None),
        ({"pack/a.txt": 60, "pack/other": 441}, "at most 500 bytes in all"),
        ({"pack/a.txt": 60, "pack/b.txt": 101}, None),  # which is none of ours
    ],
)
def test_members_of_a_tar_are_bounded_in_all(
    sizes: dict[str, int], said: str | None, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sources, "_LARGEST", 100)
    monkeypatch.setattr(sources, "_MOST_UNPACKED", 500)
    source = packed(tmp_path, sizes)
    if said is not None:
        with pytest.raises(ValueError, match=said):
            source.find(tmp_path)
        return
    found = source.find(tmp_path)
    assert found is not None
    right = {n: bytes(size) for n, size in sizes.items() if n.endswith(".txt") and size <= 100}
    assert found[1] == right


def test_tensors_of_a_graph_cannot_read_a_file_any_number_of_times(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="graphs: onnx is not installed")
    from rnncore.onnx import OnnxError, load

    (tmp_path / "w.bin").write_bytes(np.ones(1000, np.float32).tobytes())

    def graph(times: int) -> Path:
        info = [onnx.helper.make_tensor_value_info(name, 1, [1000]) for name in "xy"]
        names = [f"w{i}" for i in range(times)]
        weights = []
        for name in names:
            weight = onnx.TensorProto(name=name, data_type=1, dims=[1000])
            weight.data_location = onnx.TensorProto.EXTERNAL
            weight.external_data.add(key="location", value="w.bin")
            weights.append(weight)
        between = ["x", *(f"s{i}" for i in range(1, times)), "y"]
        nodes = [
            onnx.helper.make_node("Add", [between[i], name], [between[i + 1]])
            for i, name in enumerate(names)
        ]
        model = onnx.helper.make_model(
            onnx.helper.make_graph(nodes, "g", info[:1], info[1:], weights),
            opset_imports=[onnx.helper.make_opsetid("", 18)],
        )
        path = tmp_path / "g.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    x = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(load(graph(4))(x)["y"], np.full(1000, 4.0))  # some may share
    with pytest.raises(OnnxError, match=r"'w4': expected tensors of at most 4 times the bytes of"):
        load(graph(5))

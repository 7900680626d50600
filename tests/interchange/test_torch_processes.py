"""rnncore.torch in several processes: workers of a DataLoader, and data-parallel training."""

from __future__ import annotations

import os
import tempfile

import pytest
import rnncore.torch

torch = pytest.importorskip("torch")
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),  # of Python 3.12
]

I, H, B, T = 3, 16, 4, 5  # noqa: E741


class Encoded(Dataset):
    """Sequences that a worker reads through a recurrent module."""

    def __init__(self):
        torch.manual_seed(0)
        self.x, self.lstm = torch.randn(6, T, I), rnncore.torch.LSTM(I, H, batch_first=True)
        with torch.no_grad():
            self.lstm(self.x)  # which binds the weights, and may start threads

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        with torch.no_grad():
            return self.lstm(self.x[i])[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_worker_runs_a_module(start):
    data = Encoded()
    expected = data.lstm(data.x)[0]
    loader = DataLoader(data, batch_size=3, num_workers=1, multiprocessing_context=start)
    torch.testing.assert_close(torch.cat(list(loader)), expected.detach())
    module = data.lstm
    loss = module(data.x)[0].sum()
    loss.backward()  # the parent's own threads go on working
    assert module.weight_hh_l0.grad.abs().sum() > 0


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2 * B, T, I, generator=generator)


def model():
    torch.manual_seed(0)
    return rnncore.torch.GRU(I, H, 2, batch_first=True, bidirectional=True)


def steps(module, x):
    """Train a little; return the weights."""
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module(x)[0].square().mean().backward()
        optimizer.step()
    return [p.detach() for p in module.parameters()]


def train_a_half(rank, folder):
    """What each process of the data-parallel training does."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        weights = steps(DistributedDataParallel(model()), batch().chunk(2)[rank])
        torch.save(weights, os.path.join(folder, f"{rank}.pt"))
    finally:
        dist.destroy_process_group()


def test_two_processes_train_as_one_does():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train_a_half, (folder,), nprocs=2)
        halves = [torch.load(os.path.join(folder, f"{rank}.pt")) for rank in range(2)]
    for a, b, whole in zip(*halves, steps(model(), batch()), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, whole)

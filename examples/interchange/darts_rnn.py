"""darts' RNNModel on the temperatures of San Francisco, accelerated by a callback of one line.

darts builds a torch.nn.LSTM inside and trains it by Lightning: pip install darts==0.48.1
pytorch-lightning==2.6.6. The data come with vega_datasets==0.9.0.

Nothing of darts is changed, and `train` is what its users write. The model is built when training
begins, so that the line stands in a callback. Losses of every batch and the forecast must be the
same, and the time is that of `fit` from end to end, Lightning's work and darts' included.
"""

from __future__ import annotations

import logging
import sys
import warnings
from functools import partial
from typing import Any

import numpy as np
import rnncore
import rnncore.torch
import torch
from measuring import compare_times, print_heading, read_options

try:
    import pytorch_lightning as lightning
    from darts import TimeSeries
    from darts.models import RNNModel
except ModuleNotFoundError as error:
    sys.exit(f"{error}: pip install darts==0.48.1 pytorch-lightning==2.6.6")


class Accelerate(lightning.Callback):
    """Has the recurrent layers run in rnncore."""

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Swap them before the first step."""
        rnncore.torch.accelerate(pl_module)  # the one line


class Losses(lightning.Callback):
    """Keeps the loss of every batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
        """Keep one."""
        self.seen.append(outputs["loss"].item())


def train(series: TimeSeries, epochs: int, callbacks: list[lightning.Callback]) -> RNNModel:
    """Train darts' model on an hourly series, of which it reads a week at a time."""
    model = RNNModel(
        model="LSTM",
        input_chunk_length=144,
        training_length=168,
        hidden_dim=64,
        n_rnn_layers=2,
        dropout=0.1,
        batch_size=64,
        n_epochs=epochs,
        random_state=0,
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "callbacks": callbacks,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    )
    return model.fit(series)


def main() -> None:
    """Compare losses, forecasts and times."""
    chosen = read_options(__doc__.splitlines()[0])
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|darts|torch")
    torch.set_num_threads(chosen.threads)
    rnncore.set_num_threads(chosen.threads)
    try:
        degrees = rnncore.datasets.load("sf-temps").values
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    degrees = degrees[: 400 if chosen.short else 3000]
    series = TimeSeries.from_values(((degrees - degrees.mean()) / degrees.std()).astype(np.float32))
    losses = Losses(), Losses()
    plain = train(series, 2, [losses[0]])
    fast = train(series, 2, [losses[1], Accelerate()])
    print(f"darts' RNNModel: {plain.model.rnn}")
    swapped = type(fast.model.rnn)
    print(f"accelerated: {swapped.__name__} of {'.'.join(swapped.__module__.split('.')[:2])}")
    curves = [one.seen for one in losses]
    torch.testing.assert_close(*map(torch.tensor, curves), rtol=1e-4, atol=1e-4)
    furthest = max(abs(a - b) for a, b in zip(*curves, strict=True))
    print(f"the same losses: {curves[0][0]:.3f} to {curves[0][-1]:.3f} in {len(curves[0])} steps")
    print(f"  of both, at most {furthest:.0e} apart")
    forecasts = [model.predict(24).values() for model in (plain, fast)]
    np.testing.assert_allclose(*forecasts, rtol=1e-3, atol=1e-3)
    print(f"the same forecast: at most {np.abs(forecasts[0] - forecasts[1]).max():.0e} apart")

    print_heading("torch", "accelerated")
    compare_times(
        "fit, one epoch, from end to end",
        partial(train, series, 1, []),
        lambda: train(series, 1, [Accelerate()]),
        short=chosen.short,
    )


if __name__ == "__main__":
    main()

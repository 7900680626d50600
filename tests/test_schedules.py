"""Schedules, of both kinds: their formulas, their limits, their errors, and a layer's use."""

import dataclasses
import doctest
import math
import pickle

import numpy as np
import pytest
import rnncore
from rnncore import schedules
from rnncore.schedules import exponential_decay, inverse_sigmoid_decay, linear_decay

pytestmark = pytest.mark.once

ALL = [
    linear_decay(epochs=7),
    linear_decay(0.9, 0.2, epochs=50),
    exponential_decay(0.93),
    inverse_sigmoid_decay(1),
    inverse_sigmoid_decay(12.5),
]


@pytest.mark.parametrize("epoch", [0, 1, 7, 49, 50, 51, 400])
def test_values_are_the_formulas(epoch):
    """As the paper writes them."""
    assert linear_decay(0.9, 0.2, epochs=50)(epoch) == pytest.approx(
        max(0.2, 0.9 - 0.7 / 50 * epoch), rel=1e-12
    )
    assert exponential_decay(0.93)(epoch) == pytest.approx(0.93**epoch, rel=1e-12)
    for k in (1, 12.5):
        expected = k / (k + math.exp(epoch / k))
        assert inverse_sigmoid_decay(k)(epoch) == pytest.approx(expected, rel=1e-12)


def test_ends_are_exact():
    decay = linear_decay(0.9, 0.2, epochs=3)
    assert (decay(0), decay(3), decay(10)) == (0.9, 0.2, 0.2)
    assert exponential_decay(0.5)(0) == 1.0


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_falls_within_0_and_1_for_ever(schedule):
    values = [schedule(epoch) for epoch in range(300)]
    assert all(type(value) is float and 0 <= value <= 1 for value in values)
    assert np.diff(values).max() <= 0
    assert values[0] > values[20]
    for epoch in (10**4, 2**31 - 1):
        assert 0 <= schedule(epoch) <= values[-1]


def test_inverse_sigmoid_is_a_half_where_the_text_says():
    k = math.exp(2)  # k log k is a whole number of epochs for no k; take the two around it
    schedule, half = inverse_sigmoid_decay(k), k * math.log(k)
    assert schedule(math.floor(half)) > 0.5 > schedule(math.ceil(half))
    slope = schedule(math.floor(half)) - schedule(math.ceil(half))
    assert slope == pytest.approx(1 / (4 * k), rel=0.01)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_is_a_frozen_value(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(dataclasses.replace(schedule)) == hash(schedule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 0.5)


def test_examples_of_the_docstrings():
    parts = schedules.learning_rate, schedules.teacher_forcing
    assert sum(doctest.testmod(part).attempted for part in parts) >= 7
    assert doctest.testmod(schedules).failed == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_decay(1.5, epochs=3), ValueError, "start: expected a number in [0, 1], "),
        (lambda: linear_decay("1", epochs=3), TypeError, "start: expected a number in [0, 1], "),
        (lambda: linear_decay(1, -0.1, epochs=3), ValueError, "end: expected a number in [0, 1], "),
        (lambda: linear_decay(math.nan, epochs=3), ValueError, "start: expected a number in "),
        (lambda: linear_decay(0.2, 0.4, epochs=3), ValueError, "[0, start = 0.2], got 0.4"),
        (lambda: linear_decay(epochs=0), ValueError, "epochs: expected an integer in [1, "),
        (lambda: linear_decay(epochs=2.5), TypeError, "epochs: expected a positive integer, "),
        (lambda: exponential_decay(1.0), ValueError, "rate: expected a number in (0, 1), got 1.0"),
        (lambda: exponential_decay(0), ValueError, "rate: expected a number in (0, 1), got 0"),
        (lambda: exponential_decay(None), TypeError, "rate: expected a number in (0, 1), got None"),
        (lambda: inverse_sigmoid_decay(0.5), ValueError, "k: expected a finite number >= 1, "),
        (lambda: inverse_sigmoid_decay(math.inf), ValueError, "k: expected a finite number >= 1, "),
        (lambda: inverse_sigmoid_decay(math.nan), ValueError, "k: expected a finite number >= 1, "),
        (lambda: inverse_sigmoid_decay([3]), TypeError, "k: expected a number >= 1, got [3]"),
    ],
)
def test_an_argument_out_of_range_is_named(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
@pytest.mark.parametrize(
    ("epoch", "error"),
    [(-1, ValueError), (2**31, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError)],
)
def test_an_epoch_that_is_none_is_named(schedule, epoch, error):
    with pytest.raises(error, match="epoch: expected an integer"):
        schedule(epoch)


def test_epochs_may_be_numpy_integers():
    assert linear_decay(epochs=np.int64(4))(np.int32(1)) == 0.75


def test_a_layer_draws_as_often_as_the_schedule_says():
    """With P = 0 and U = 0 each output is b_o: what feeds back shows in y through Q alone."""
    layer = rnncore.RNN(1, 1, output_size=1, recurrence="output_to_output", dtype=np.float64, rng=0)
    for array in layer.parameters.values():
        array[...] = 0
    layer.parameters["weight_oo"][...] = 1
    x = np.zeros((4000, 41, 1))
    schedule = exponential_decay(0.7)
    for epoch in (0, 1, 3):
        y, _, _ = layer.forward(x, targets=np.ones(x.shape), teacher_forcing=schedule(epoch))
        # y_t is 1 once any target has fed back: with probability p a step from the first on
        first = y[:, 1:, 0].argmax(axis=1) + 1
        assert 1 / first.mean() == pytest.approx(schedule(epoch), abs=0.03)


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.999])
def test_factors_of_the_learning_rate_are_the_formulas(share):
    assert schedules.constant_lr(share) == 1
    assert schedules.linear_lr(share) == 1 - share
    assert schedules.cosine_lr(share) == pytest.approx((1 + math.cos(math.pi * share)) / 2)


def test_a_kind_of_its_own_is_teacher_forcing_too():
    assert all(isinstance(schedule, schedules.TeacherForcingSchedule) for schedule in ALL)
    with pytest.raises(TypeError, match="abstract"):
        schedules.TeacherForcingSchedule()


def test_the_text_names_every_schedule_and_the_arguments_they_go_to():
    for name in (*schedules.__all__, "lr_schedule", "teacher_forcing"):
        if name[0].islower():
            assert name in schedules.__doc__


def test_steps_warm_up_and_one_cycle_are_what_they_say():
    step = schedules.step_lr(0.5, (0.25, 0.5))
    assert [step(share) for share in (0, 0.24, 0.25, 0.5, 0.99)] == [1, 1, 0.5, 0.25, 0.25]
    warm = schedules.warm_up_lr(0.5, "linear", start=0.2)
    np.testing.assert_allclose([warm(s) for s in (0, 0.25, 0.5, 0.75)], [0.2, 0.6, 1, 0.5])
    cycle = schedules.one_cycle_lr(0.5, start=0.2, end=0.0)
    np.testing.assert_allclose([cycle(s) for s in (0, 0.25, 0.5, 0.75)], [0.2, 0.6, 1, 0.5])
    for schedule in (step, warm, cycle):
        assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_one_cycle_is_torchs():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=50)
    ours = schedules.one_cycle_lr(peak=14 / 49)
    for k in range(50):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(ours(k / 49), rel=1e-9)
        optimizer.step()
        if k < 49:
            theirs.step()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: schedules.step_lr(1.5), ValueError, r"factor: expected a number in \(0, 1\)"),
        (lambda: schedules.step_lr(at="half"), TypeError, "at: expected a sequence of numbers"),
        (lambda: schedules.step_lr(at=[0.5, 2]), ValueError, "at: expected a number in"),
        (lambda: schedules.warm_up_lr(0), ValueError, "share: expected a number in"),
        (lambda: schedules.warm_up_lr(0.1, "cosinus"), ValueError, "then: expected one of"),
        (lambda: schedules.warm_up_lr(start=2), ValueError, "start"),
        (lambda: schedules.one_cycle_lr("x"), TypeError, "peak: expected a number"),
    ],
)
def test_bad_arguments_of_learning_rate_schedules_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()

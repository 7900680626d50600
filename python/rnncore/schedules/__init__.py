"""Schedules: how the learning rate, or teacher forcing, changes while a model is trained.

Two kinds, each with its own argument of `fit`:

============= =================================== ========================================
schedule of   the learning rate                   teacher forcing
============= =================================== ========================================
goes to       ``fit(lr_schedule=...)``            ``fit(teacher_forcing=...)``
a function of the share of steps done, in [0, 1)  the epoch, counted from 0
which gives   a factor of the optimizer's lr      a probability in [0, 1]
at            every step                          the start of every epoch
here          constant_lr, linear_lr, cosine_lr,  linear_decay, exponential_decay,
              or by their names "constant",       inverse_sigmoid_decay
              "linear", "cosine"; step_lr,
              warm_up_lr, one_cycle_lr
============= =================================== ========================================

Either argument takes any function of the same kind as well, and refuses the other kind's from
here.
"""

from rnncore.schedules.learning_rate import (
    constant_lr,
    cosine_lr,
    linear_lr,
    one_cycle_lr,
    step_lr,
    warm_up_lr,
)
from rnncore.schedules.teacher_forcing import (
    ExponentialDecay,
    InverseSigmoidDecay,
    LinearDecay,
    TeacherForcingSchedule,
    exponential_decay,
    inverse_sigmoid_decay,
    linear_decay,
)

__all__ = [
    "ExponentialDecay",
    "InverseSigmoidDecay",
    "LinearDecay",
    "TeacherForcingSchedule",
    "constant_lr",
    "cosine_lr",
    "exponential_decay",
    "inverse_sigmoid_decay",
    "linear_decay",
    "linear_lr",
    "one_cycle_lr",
    "step_lr",
    "warm_up_lr",
]


def __dir__() -> list[str]:
    return __all__

"""Models: recurrent layers with what a task needs around them, a loss, and fit, save and load."""

from rnncore.models.base import Model
from rnncore.models.encoder_decoder import EncoderDecoder
from rnncore.models.language import LanguageModel
from rnncore.models.many_to_many import ManyToMany
from rnncore.models.many_to_one import ManyToOne
from rnncore.models.one_to_many import OneToMany
from rnncore.models.sequential import Sequential

__all__ = [
    "EncoderDecoder",
    "LanguageModel",
    "ManyToMany",
    "ManyToOne",
    "Model",
    "OneToMany",
    "Sequential",
]


def __dir__() -> list[str]:
    return __all__

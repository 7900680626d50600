"""The ranks of a training: processes that share each batch, on one machine or on many."""

from rnncore.training.ranks.joining import joined
from rnncore.training.ranks.ranks import Ranks
from rnncore.training.ranks.reduction import Ordered
from rnncore.training.ranks.sameness import check_same, share_random
from rnncore.training.ranks.shards import Shard, shards_of

__all__ = ["Ordered", "Ranks", "Shard", "check_same", "joined", "shards_of", "share_random"]

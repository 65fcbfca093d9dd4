"""What a run leaves behind beside the weights."""

import pandas
from torch import nn


class History(pandas.DataFrame):
    """One row an epoch, and the averaged weights as a network of their own.

    Columns: ``epoch`` (from 1), ``step`` (steps taken so far), ``lr`` (of the last step), ``train_loss`` (mean over
    the epoch's steps, while the weights changed), ``valid_...`` for each metric of the validation, ``ema_...`` for the
    same of the averaged weights, and ``seconds``. With a progressive recipe also ``image_size``, ``randaugment``,
    ``mixup`` and ``dropout`` of the epoch's stage.

    Attributes:
        ema: the network with the averaged weights; ``None`` if the recipe keeps no average.
        best: the network with the weights of the best epoch; ``None`` if nobody asked for it.
        best_epoch: which epoch that was, from 1.
    """

    _metadata = ("ema", "best", "best_epoch")
    ema: nn.Module | None = None
    best: nn.Module | None = None
    best_epoch: int | None = None

    @property
    def _constructor(self):
        return pandas.DataFrame

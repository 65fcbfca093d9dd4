"""One defect: the module that has it, and the number that shows it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from stitchwork.registry import create_block


@dataclass(frozen=True)
class Erratum:
    """One defect.

    Attributes:
        key: names it, such as ``"cot_softmax_over_all_pixels"``.
        block: the registered name of the module concerned.
        found_in: ``"popular copies"`` or ``"the official code"``.
        text: what is wrong and what comes of it, in a paragraph of Markdown.
        wrong: builds the module with the defect, at ``dim`` channels.
        measure: gives, for a module, the number that shows the defect; infinity if the module fails outright.
        meaning: what that number is, such as ``"change of the first output when the second image changes"``.
        limit: the number is at most this for a sound module, and more for the defective one.
        dim: channels of the modules that are compared.
        arguments: of ours, beyond ``dim``.
        recorded: the label of the fingerprint that the defective module has, if one is recorded.
    """

    key: str
    block: str
    found_in: str
    text: str
    wrong: Callable[[], nn.Module]
    measure: Callable[[nn.Module], float]
    meaning: str
    limit: float = 1e-6
    dim: int = 64
    arguments: tuple[tuple[str, object], ...] = ()
    recorded: str | None = None

    def right(self) -> nn.Module:
        """Our module."""
        return create_block(self.block, self.dim, **dict(self.arguments))

    def demonstrate(self) -> tuple[float, float]:
        """The number for ours and for the defective module, each built with the same seed."""
        numbers = []
        for build in (self.right, self.wrong):
            torch.manual_seed(0)
            numbers.append(float(self.measure(build())))
        return numbers[0], numbers[1]

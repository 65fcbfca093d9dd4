"""Logits and labels that all the losses are tried on."""

import pytest
import torch


class Batch:
    """Random logits and targets, the same for the same arguments."""

    @staticmethod
    def labels(batch=2, classes=3, size=(5, 6), seed=0, scale=2.0, dtype=torch.float64):
        """Logits (B, K, ...) and labels (B, ...), each class there; two classes for one logit."""
        generator = torch.Generator().manual_seed(seed)
        logits = scale * torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64)
        labels = torch.randint(max(2, classes), (batch, *size), generator=generator)
        assert len(labels.unique()) == max(2, classes)
        return logits.to(dtype), labels

    @staticmethod
    def answers(batch=2, classes=3, size=(5, 6), seed=0, scale=2.0, dtype=torch.float64):
        """Logits (B, K, ...) and for each of them 0 or 1."""
        generator = torch.Generator().manual_seed(seed)
        logits = scale * torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64)
        return logits.to(dtype), torch.randint(2, (batch, classes, *size), generator=generator)


@pytest.fixture
def batch():
    return Batch

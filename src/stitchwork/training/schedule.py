"""The learning rate as a function of the step, and nothing else: there is no state that a resume could get wrong."""

import math


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to 0 (loshchilov2017sgdr, without restarts).

    Args:
        step: the step to be taken, 0 to ``steps - 1``.
        steps: steps of the whole run.
        peak: the highest learning rate.
        warmup: share of the steps in which the rate rises: with w = round(warmup * steps), step i < w has
            peak * (i + 1) / w, step w has the peak, and the cosine would reach 0 at ``steps``.
    """
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))

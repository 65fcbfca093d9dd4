"""The learning rate as a function of the step, and nothing else: there is no state that a resume could get wrong."""

import math

SCHEDULES = {
    "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),  # loshchilov2017sgdr, without restarts
    "poly": lambda t: (1 - t) ** 0.9,  # usual for segmentation, since chen2017rethinking
}
"""The share of the peak at a time t of the fall, from 0 to 1."""


def learning_rate(step: int, steps: int, peak: float, warmup: float, schedule: str = "cosine") -> float:
    """Linear warm-up, then a fall to 0.

    Args:
        step: the step to be taken, 0 to ``steps - 1``.
        steps: steps of the whole run.
        peak: the highest learning rate.
        warmup: share of the steps in which the rate rises: with w = round(warmup * steps), step i < w has
            peak * (i + 1) / w, step w has the peak, and the rate would reach 0 at ``steps``.
        schedule: how it falls, one of :data:`SCHEDULES`.
    """
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * SCHEDULES[schedule]((step - rising) / (steps - rising))

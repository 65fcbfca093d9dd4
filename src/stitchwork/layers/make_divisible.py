"""Channel counts that suit the hardware."""


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to ``channels``, but never more than 10 % below it.

    The rounding of MobileNetV2's and EfficientNet's official code: scaling a width by a multiplier gives fractions,
    and vector units want multiples of 8.

    >>> make_divisible(32 * 0.35), make_divisible(24 * 0.35)
    (16, 8)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded

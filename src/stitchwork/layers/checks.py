"""Clear errors for what goes in: the rank, the channel count and the size of an image, and a module's arguments."""

from torch import Tensor


def check_image(x: Tensor, channels: int, owner: str, min_size: int = 1) -> None:
    """Refuse an input that is not (B, ``channels``, H, W) with H and W at least ``min_size``.

    Args:
        x: the input.
        channels: the number of channels that ``owner`` was built for.
        owner: the name of the module, for the message.
        min_size: smallest height and width in pixels.

    Raises:
        ValueError: says what was expected, the shape that came, and what to do.
    """
    if x.dim() != 4:
        advice = "add the batch axis with x[None]" if x.dim() == 3 else "reshape it to four axes"
        raise ValueError(f"{owner} takes an image batch (B, {channels}, H, W); got shape {tuple(x.shape)}: {advice}")
    if x.shape[1] != channels:
        raise ValueError(
            f"{owner} was built for {channels} channels; got shape {tuple(x.shape)} with {x.shape[1]}: "
            f"build it for {x.shape[1]} channels, or permute a channels-last input to (B, C, H, W)"
        )
    if x.shape[2] < min_size or x.shape[3] < min_size:
        raise ValueError(
            f"{owner} needs height and width of at least {min_size}; got shape {tuple(x.shape)}: enlarge the input"
        )


def check_size(x: Tensor, size: tuple[int, int], owner: str) -> None:
    """Refuse images (B, C, H, W) of another height and width than the ``size`` that a module was built for.

    Raises:
        ValueError: says which size was expected, which came, and what to do.
    """
    if tuple(x.shape[2:]) != tuple(size):
        raise ValueError(
            f"{owner} was built for images of size {tuple(size)}; got {tuple(x.shape[2:])}: "
            f"build it with size={tuple(x.shape[2:])}, or resize the images"
        )


def check_divisible(x: Tensor, side: int, owner: str) -> None:
    """Refuse images (B, C, H, W) whose height or width is not a multiple of ``side``.

    Raises:
        ValueError: says which size came, and which one it can be padded to.
    """
    size = tuple(x.shape[2:])
    if size[0] % side or size[1] % side:
        fitting = tuple(-(-length // side) * side for length in size)
        raise ValueError(
            f"{owner} takes a height and a width that are multiples of {side}; got {size}: pad the images to "
            f"{fitting}, or resize them"
        )


def check_positive(owner: str, **arguments: float) -> None:
    """Refuse constructor arguments that are not greater than zero.

    Raises:
        ValueError: names the owner, the argument and the value.
    """
    for name, value in arguments.items():
        if value <= 0:
            raise ValueError(f"{owner}: {name} must be greater than 0; got {value}")


def check_multiple(owner: str, dim: int, **divisors: int) -> None:
    """Refuse a ``dim`` that the constructor arguments ``divisors`` do not divide.

    Raises:
        ValueError: names the owner, ``dim``, the argument that does not divide it, and both values.
    """
    for name, divisor in divisors.items():
        if dim % divisor:
            raise ValueError(
                f"{owner}: dim must be a multiple of {name}={divisor}; got dim={dim}: "
                f"take {-(-dim // divisor) * divisor} channels, or another {name}"
            )

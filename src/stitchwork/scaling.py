"""Compound scaling: from a small network and a budget to the larger network that fits it.

Paper: tan2019efficientnet, section 3.3. One number phi makes a network deeper, wider and sharper-sighted at once,

    depth x alpha^phi,  width x beta^phi,  resolution x gamma^phi,

where alpha, beta and gamma are found once, on the small network. Multiply-adds grow with depth and with the square of
width and resolution, so that the whole costs (alpha beta^2 gamma^2)^phi: with the paper's 1.2, 1.1 and 1.15, about
2^phi.

    plan = scale_to("efficientnet_b0", multiply_adds=1e9)
    model = plan.build(num_classes=10)

What is counted is what is built: widths are rounded to multiples of 8, the blocks of a stage are rounded up, and so the
cost goes in steps, and not exactly as the formula. Counting is done on the meta device, where a network of any size
takes neither memory nor time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from stitchwork.analysis import count_multiply_adds, count_parameters, measure_latency
from stitchwork.layers import make_divisible
from stitchwork.models.efficientnet import STAGES, EfficientNet

if TYPE_CHECKING:
    import pandas as pd

# How far from the base a plan may be, as a factor of its multiply-adds: a rule that was found on a small network has
# nothing to say of one that is a million times as large.
LEAST_GROWTH, MOST_GROWTH = 1 / 64, 1024

UNITS = {"multiply_adds": "multiply-adds", "parameters": "parameters", "milliseconds": "ms"}


@dataclass(frozen=True)
class ScalableNetwork:
    """A network that can grow: its shape at phi = 0, and what builds it in another.

    Args:
        depths: blocks in each stage.
        widths: channels of whatever is to widen: the stages, and the stem and the head if they should.
        resolution: side of the input image in pixels.
        build: called as ``build(depths, widths, **arguments)`` with tuples as long as these; gives the network.
        in_chans: channels of the input image.
        name: for tables and messages.
        width_multiple: widths are rounded to multiples of this, and are never more than 10 % down.
        resolution_multiple: the resolution is rounded to the nearest multiple of this.

    Raises:
        ValueError: no stages, a number that is not a positive integer, or widths or a resolution that are not such
            multiples already.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    resolution: int
    build: Callable[..., nn.Module] = field(repr=False)
    in_chans: int = 3
    name: str = "network"
    width_multiple: int = 8
    resolution_multiple: int = 8

    def __post_init__(self):
        """Check the description, and make tuples of lists."""
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "widths", tuple(self.widths))
        numbers = {"depths": self.depths, "widths": self.widths} | {
            key: (getattr(self, key),) for key in ("resolution", "in_chans", "width_multiple", "resolution_multiple")
        }
        for key, values in numbers.items():
            if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
                given = getattr(self, key)
                raise ValueError(f"ScalableNetwork: {key} must be integers of at least 1; got {given!r}")
        for key, step in (("widths", self.width_multiple), ("resolution", self.resolution_multiple)):
            if any(value % step for value in numbers[key]):
                multiple = key.removesuffix("s") + "_multiple"
                raise ValueError(
                    f"ScalableNetwork: {key} must be multiples of {multiple}={step}, or phi = 0 would not be the base; "
                    f"got {getattr(self, key)!r}: give a smaller {multiple}"
                )
        if not callable(self.build):
            raise ValueError(f"ScalableNetwork: build must be a function of depths and widths; got {self.build!r}")

    def scaled_depths(self, depth: float) -> tuple[int, ...]:
        """Blocks in each stage at this multiplier, rounded up."""
        # 12 digits, so that 5 x 1.2 is 6 and not a hair more.
        return tuple(math.ceil(round(n * depth, 12)) for n in self.depths)

    def scaled_widths(self, width: float) -> tuple[int, ...]:
        """Channels at this multiplier, rounded as :func:`stitchwork.layers.make_divisible` does."""
        return tuple(make_divisible(c * width, self.width_multiple) for c in self.widths)

    def scaled_resolution(self, resolution: float) -> int:
        """Pixels at this multiplier, rounded to the nearest multiple."""
        step = self.resolution_multiple
        return max(step, round(self.resolution * resolution / step) * step)

    def construct(self, depth: float, width: float, **arguments) -> nn.Module:
        """The network at these multipliers.

        Raises:
            TypeError: what ``build`` gives is no module.
        """
        model = self.build(self.scaled_depths(depth), self.scaled_widths(width), **arguments)
        if not isinstance(model, nn.Module):
            raise TypeError(f"{self.name}: build must give an nn.Module; got {type(model).__name__}")
        return model


class _EfficientNet(ScalableNetwork):
    """Our EfficientNet scales itself: it is built from the multipliers."""

    def construct(self, depth: float, width: float, **arguments) -> nn.Module:
        return self.build(depth_multiplier=depth, width_multiplier=width, **arguments)


EFFICIENTNET_B0 = _EfficientNet(
    depths=tuple(repeats for _, _, _, repeats, _ in STAGES),
    widths=(32, *(channels for _, _, channels, _, _ in STAGES), 1280),
    resolution=224,
    build=EfficientNet,
    name="efficientnet_b0",
)


@dataclass(frozen=True)
class Plan:
    """A scaled network before it is built: its shape, what it costs, and what it was made for.

    Printed, it is a table that sets it beside its base; :meth:`to_frame` gives that as a DataFrame.

    Args:
        base: the network that grew.
        phi: by how much; 0 is the base.
        depth: multiplier of the blocks in each stage.
        width: multiplier of the channels.
        resolution: side of the input image in pixels.
        budget: what it had to fit, such as ``("multiply_adds", 1e9)``; ``None`` where phi was given.
        milliseconds: measured time of a forward pass, where the budget was one of time.
    """

    base: ScalableNetwork
    phi: float
    depth: float
    width: float
    resolution: int
    budget: tuple[str, float] | None = None
    milliseconds: float | None = None

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks in each stage."""
        return self.base.scaled_depths(self.depth)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels, in the order of the base's."""
        return self.base.scaled_widths(self.width)

    @property
    def input_size(self) -> tuple[int, int, int, int]:
        """Shape of one image: (1, in_chans, resolution, resolution)."""
        return (1, self.base.in_chans, self.resolution, self.resolution)

    @cached_property
    def _on_paper(self) -> nn.Module:
        with torch.device("meta"):
            return self.build()

    @cached_property
    def parameters(self) -> int:
        """Number of parameters."""
        return count_parameters(self._on_paper)

    @cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image."""
        return count_multiply_adds(self._on_paper, input_size=self.input_size)

    def build(self, **arguments) -> nn.Module:
        """The network, freshly initialised.

        Args:
            **arguments: of the base's builder, such as ``num_classes=10``.
        """
        return self.base.construct(self.depth, self.width, **arguments)

    def to_frame(self) -> "pd.DataFrame":
        """The base and the plan side by side: columns ``base``, ``plan`` and ``factor``, which says by how much."""
        import pandas as pd

        return pd.DataFrame.from_dict(self._rows(), orient="index", columns=["base", "plan", "factor"], dtype=object)

    def _rows(self) -> dict[str, tuple]:
        base = compound_scale(self.base, 0)
        rows = {
            "resolution": (base.resolution, self.resolution, self.resolution / base.resolution),
            "blocks": (base.depths, self.depths, sum(self.depths) / sum(base.depths)),
            "widths": (base.widths, self.widths, self.width),
            "parameters": (base.parameters, self.parameters, self.parameters / base.parameters),
            "multiply_adds": (base.multiply_adds, self.multiply_adds, self.multiply_adds / base.multiply_adds),
        }
        if self.milliseconds is not None:
            rows["milliseconds"] = (None, self.milliseconds, None)
        return rows

    def __str__(self) -> str:
        """The table, for people."""
        title = f"{self.base.name} at phi = {self.phi:.2f}: depth x{self.depth:.3f}, width x{self.width:.3f}"
        lines = [("", "base", "plan", "factor")]
        for name, (base, plan, factor) in self._rows().items():
            factor = "" if factor is None else f"x{factor:.2f}"
            lines.append((name.replace("_", "-"), _text(base), _text(plan), factor))
        columns = [max(map(len, column)) for column in zip(*lines)]
        table = ["  ".join(cell.ljust(n) for cell, n in zip(line, columns)).rstrip() for line in lines]
        if self.budget:
            kind, amount = self.budget
            used = getattr(self, kind) / amount
            table.append(f"{used:.0%} of the budget of {_amount(kind, amount)}")
        return "\n".join([title, *table])


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def _amount(kind: str, amount: float) -> str:
    return f"{amount:,.4g} ms" if kind == "milliseconds" else f"{amount:,.0f} {UNITS[kind]}"


def compound_scale(
    base: str | ScalableNetwork, phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15
) -> Plan:
    """Scale depth by alpha^phi, width by beta^phi and resolution by gamma^phi.

    Args:
        base: ``"efficientnet_b0"`` or a network that you describe.
        phi: how far to go; 0 gives the base, negative numbers shrink it.
        alpha: of the depth. The defaults are the paper's for B0; 1 leaves a dimension as it is.
        beta: of the width.
        gamma: of the resolution.

    Raises:
        ValueError: no such base; alpha, beta or gamma below 1, or all 1; a phi that makes the network more than 1024
            times as dear as the base, or less than a 64th.
    """
    base = _base(base)
    growth = _growth(alpha, beta, gamma)
    lowest, highest = _range(growth)
    if not lowest <= phi <= highest:  # true of nan, too
        raise ValueError(
            f"phi must be between {lowest:.4g} and {highest:.4g}, where {base.name} has a 64th to 1024 times its cost; "
            f"got {phi}"
        )
    return Plan(base, phi, alpha**phi, beta**phi, base.scaled_resolution(gamma**phi))


def scale_to(
    base: str | ScalableNetwork,
    *,
    multiply_adds: float | None = None,
    parameters: float | None = None,
    milliseconds: float | None = None,
    alpha: float = 1.2,
    beta: float = 1.1,
    gamma: float = 1.15,
    batch_size: int = 1,
    device: str | torch.device = "cpu",
) -> Plan:
    """The largest plan that fits a budget.

    Args:
        base: ``"efficientnet_b0"`` or a network that you describe.
        multiply_adds: of one image.
        parameters: of the network.
        milliseconds: for one forward pass of ``batch_size`` images on ``device``. Networks are built and timed, which
            takes about twenty times the budget and more on a machine that does something else; ask for a margin.
        alpha: of the depth.
        beta: of the width.
        gamma: of the resolution.
        batch_size: images at a time, where the budget is one of time.
        device: where the time is measured.

    Returns:
        The plan with the largest phi whose cost is within the budget.

    Raises:
        ValueError: no budget or several; one that is not positive, that even the smallest plan exceeds, or that is
            larger than the largest plan. The message says what would do.
    """
    base = _base(base)
    growth = _growth(alpha, beta, gamma)
    amounts = {"multiply_adds": multiply_adds, "parameters": parameters, "milliseconds": milliseconds}
    budgets = {kind: amount for kind, amount in amounts.items() if amount is not None}
    scale = partial(compound_scale, base, alpha=alpha, beta=beta, gamma=gamma)
    if not budgets:
        raise ValueError(
            f"give a budget: multiply_adds, parameters or milliseconds; {base.name} itself has "
            f"{scale(0).multiply_adds:,} multiply-adds and {scale(0).parameters:,} parameters"
        )
    if parameters is not None and alpha == beta == 1:
        raise ValueError(
            f"with alpha = beta = 1 only the resolution grows, and every plan has {scale(0).parameters:,} parameters: "
            "give a budget of multiply_adds or milliseconds"
        )

    prices = {}

    def price(plan: Plan, kind: str) -> float:
        key = (kind, plan.depths, plan.widths, plan.resolution)  # many a phi gives the same network
        if key not in prices:
            if kind == "milliseconds":
                model = plan.build().to(device)
                images = torch.randn(batch_size, *plan.input_size[1:], device=device)
                prices[key] = measure_latency(model, images, warmup=2, repeats=5).median * 1e3
            else:
                prices[key] = getattr(plan, kind)
        return prices[key]

    plans = {kind: _largest(kind, amount, scale, price, growth) for kind, amount in budgets.items()}
    tightest = min(plans, key=lambda kind: plans[kind].phi)
    if len(plans) > 1:
        raise ValueError(
            f"one budget decides the plan; got {' and '.join(f'{k}={v:g}' for k, v in budgets.items())}: give "
            f"{tightest}={budgets[tightest]:g} alone, whose plan, at phi = {plans[tightest].phi:.2f}, keeps within all"
        )
    return plans[tightest]


def _largest(
    kind: str,
    amount: float,
    scale: Callable[[float], Plan],
    price: Callable[[Plan, str], float],
    growth: float,
) -> Plan:
    """The plan with the largest phi whose price is at most ``amount``."""
    lowest, highest = _range(growth)
    if not amount > 0:  # true of nan, too
        smallest = scale(lowest)
        raise ValueError(
            f"{kind} must be greater than 0; got {amount}: the smallest plan of {smallest.base.name} has "
            f"{_amount(kind, price(smallest, kind))}"
        )
    base = price(scale(0), kind)
    if kind == "milliseconds" and amount > base * MOST_GROWTH:  # not to be tried out
        raise ValueError(
            f"{kind} must be at most about {_amount(kind, base * MOST_GROWTH)}, {MOST_GROWTH} times what "
            f"{scale(0).base.name} takes; got {amount:g}"
        )

    # From where the formula says, in steps of a factor sqrt(2) to both sides of the answer, and then halving.
    step = math.log(2) / math.log(growth) / 2
    guess = math.log(min(amount / base, MOST_GROWTH)) / math.log(growth)
    phi = min(max(guess, lowest), highest)
    best, priced = None, None
    low, high = -math.inf, math.inf
    precision = step / (10 if kind == "milliseconds" else 256)
    while high - low > precision:
        plan = scale(phi)
        cost = price(plan, kind)
        if cost <= amount:
            best, priced, low = plan, cost, phi
            if phi == highest:
                if cost == amount:
                    break
                raise ValueError(
                    f"{kind} must be at most {_amount(kind, cost)}, as the largest plan of {plan.base.name} has; "
                    f"got {amount:g}"
                )
        else:
            high = phi
            if phi == lowest:
                raise ValueError(
                    f"{kind} must be at least {_amount(kind, cost)}, as the smallest plan of {plan.base.name} has; "
                    f"got {amount:g}"
                )
        if high == math.inf:
            phi = min(phi + step, highest)
        elif low == -math.inf:
            phi = max(phi - step, lowest)
        else:
            phi = (low + high) / 2
    best = _roundest(best, scale, lowest, highest)
    return replace(best, budget=(kind, amount), milliseconds=priced if kind == "milliseconds" else None)


def _roundest(plan: Plan, scale: Callable[[float], Plan], lowest: float, highest: float) -> Plan:
    """The same network with the fewest digits in phi."""
    for digits in range(4):
        other = scale(min(max(round(plan.phi, digits) + 0.0, lowest), highest))  # + 0.0: no minus zero
        if (other.depths, other.widths, other.resolution) == (plan.depths, plan.widths, plan.resolution):
            return other
    return plan


def _base(base: str | ScalableNetwork) -> ScalableNetwork:
    if isinstance(base, ScalableNetwork):
        return base
    if base == EFFICIENTNET_B0.name:
        return EFFICIENTNET_B0
    raise ValueError(f"base must be {EFFICIENTNET_B0.name!r} or a ScalableNetwork that describes yours; got {base!r}")


def _growth(alpha: float, beta: float, gamma: float) -> float:
    """By how much one step of phi multiplies the multiply-adds."""
    if not (alpha >= 1 and beta >= 1 and gamma >= 1 and max(alpha, beta, gamma) > 1):
        raise ValueError(
            "alpha, beta and gamma must be at least 1, and one of them greater: "
            f"got {alpha}, {beta} and {gamma}; to shrink, take a negative phi"
        )
    return alpha * beta**2 * gamma**2


def _range(growth: float) -> tuple[float, float]:
    """The least and the greatest phi."""
    return math.log(LEAST_GROWTH) / math.log(growth), math.log(MOST_GROWTH) / math.log(growth)

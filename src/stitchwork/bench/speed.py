"""Speed and memory of our networks against timm's and torchvision's, on the same weights, and fused against unfused.

A network that has a transcription runs against that too, as it is and fused.

What makes the comparison fair: both networks hold the same weights and are checked to give the same logits; they run
in turn in one process (A B C, C B A, ...), so that whatever else the machine does meets all of them; a ratio is taken
within each round; each network gets the memory layout that suits it, found in a short trial; and the allocator keeps
what is freed, because fetching zeroed pages from the kernel takes a third of a MobileNet's time and depends on what
ran before.
"""

import copy
import json
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.analysis import measure_peak_memory
from stitchwork.bench.clock import LAYOUTS, THREADS, quiet_machine, seconds
from stitchwork.provenance import environment
from stitchwork.registry import create_model, describe, list_models
from stitchwork.reparameterise import fuse
from stitchwork.transcriptions import transcribe, transcriptions
from stitchwork.weights import rename

LIBRARIES = ("torchvision", "timm")
DEFAULT = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "shufflenet_v1_x1_0_g3",
    "shufflenet_v2_x1_0",
    "fasternet_t0",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "repvgg_a0",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "convnext_tiny",
    "inception_next_tiny",
    "unireplknet_a",
    "repnext_m0",
    "vit_small_patch16",
    "deit_small",
    "poolformer_s12",
    "pvt_v2_b1",
    "twins_svt_small",
    "swin_tiny",
    "gcvit_tiny",
    "maxvit_tiny",
    "mobilevit_s",
)
BATCH, PIXELS = 8, 224
UNFUSED, PLAIN = "unfused:", "plain:"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        network: our registered name.
        reference: what it is compared with, such as ``"timm:resnet50"``, ``"unfused:repvgg_a0"`` or
            ``"plain:evit_unet"``, its transcription.
        mode: ``"eval"`` (a forward pass without gradients), ``"train"`` (forward, loss, backward, SGD step), or
            ``"fused"`` (a forward pass of the fused network).
        layout: the memory layout in which ours ran.
        reference_layout: the one in which theirs ran.
        images_per_second: of ours, from the median time.
        reference_images_per_second: of theirs.
        ratio: median over the rounds of their time divided by ours: above 1, ours is faster.
        q1: first quartile of that ratio.
        q3: third quartile.
        peak_memory: bytes of the tensors that ours holds at the worst moment of a step, beyond weights and gradients.
        reference_peak_memory: of theirs.
    """

    network: str
    reference: str
    mode: str
    layout: str
    reference_layout: str
    images_per_second: float
    reference_images_per_second: float
    ratio: float
    q1: float
    q3: float
    peak_memory: int
    reference_peak_memory: int


def comparable() -> list[str]:
    """The networks that timm or torchvision has too, or that have a plain or a fused form to compare with."""
    return [name for name in list_models() if references(name) or fused_or_none(meta(name))]


def meta(name: str) -> nn.Module:
    """The network ``name`` without memory."""
    with torch.device("meta"):
        return create_model(name)


def fused_or_none(network: nn.Module) -> nn.Module | None:
    """The fused form of a network, if it has one."""
    try:
        return fuse(network)
    except ValueError:
        return None


def references(name: str) -> list[str]:
    """What network ``name`` can be timed against, such as ``["torchvision:resnet18", "timm:resnet18"]``."""
    entry = describe(name)
    if entry.kind != "model":
        return []
    found = [r for r in entry.references if r.split(":")[0] in LIBRARIES]
    return [*found, PLAIN + name] if name in transcriptions() else found


def bench_speed(
    names: Sequence[str] = DEFAULT,
    pairs: int = 10,
    *,
    batch: int = BATCH,
    pixels: int = PIXELS,
    output: str | os.PathLike | None = None,
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Time networks against their references: on the GPU if there is one, else on one CPU thread.

    Args:
        names: registered networks.
        pairs: rounds that count, for each network and mode; at least 2.
        batch: images at a time.
        pixels: side of an image.
        output: path of a JSON file for the rows, with the conditions and the machine.
        report: called with each row as soon as it is measured.

    Returns:
        One row for each network, mode and reference.

    Raises:
        ValueError: fewer than 2 pairs, an unknown network, or one that has neither a reference nor a fused form.
        RuntimeError: the logits differ from the reference's.
        ImportError: timm or torchvision is missing.
    """
    if pairs < 2:
        raise ValueError(f"pairs must be at least 2, or there is no spread to report; got {pairs}")
    for name in names:
        if describe(name).kind != "model" or not (references(name) or fused_or_none(meta(name))):
            raise ValueError(
                f"neither timm nor torchvision has a network {name}, nor is there a plain or a fused form of it; "
                f"try {', '.join(DEFAULT)}"
            )
    rows = []
    with quiet_machine():
        for name in names:
            for row in compare(name, pairs, batch, pixels):
                rows.append(row)
                report(row)
        conditions = {"batch": batch, "pixels": pixels, "threads": THREADS, "pairs": pairs}
        record = {"environment": environment(), "conditions": conditions, "rows": [asdict(row) for row in rows]}
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return rows


def compare(name: str, pairs: int, batch: int, pixels: int) -> Iterator[Row]:
    """Time one network against all of its references, evaluating and training, and its fused form against itself.

    A plain form is for evaluation; the fused network runs against it as well.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, meta(name).in_chans, pixels, pixels, generator=generator).to(device)
    networks = with_equal_weights(name, x)
    plain = {label: network for label, network in networks.items() if label.startswith(PLAIN)}
    trained = {label: network for label, network in networks.items() if label not in plain}
    for mode, chosen in (("eval", networks), ("train", trained)):
        if len(chosen) > 1:
            yield from in_turn(chosen, x, mode, pairs)
    if fused := fused_or_none(networks[name]):
        yield from in_turn({name: fused, UNFUSED + name: networks[name]} | plain, x, "fused", pairs)


def in_turn(networks: dict[str, nn.Module], x: Tensor, mode: str, pairs: int) -> Iterator[Row]:
    """Time the first of ``networks`` against each of the others; all of them run in every round."""
    layouts, steps = {}, {}
    for label, network in networks.items():
        layouts[label], steps[label] = fastest(network, x, mode)
    times: dict[str, list[float]] = {label: [] for label in networks}
    order = list(networks)
    for _ in range(pairs):
        for label in order:
            times[label].append(seconds(steps[label]))
        order.reverse()
    memory = {label: measure_peak_memory(step, device=x.device) for label, step in steps.items()}
    name, *others = networks
    for other in others:
        ours, theirs = times[name], times[other]
        q1, ratio, q3 = statistics.quantiles([b / a for a, b in zip(ours, theirs)], n=4, method="inclusive")
        speed, other_speed = len(x) / statistics.median(ours), len(x) / statistics.median(theirs)
        speeds = speed, other_speed, ratio, q1, q3
        yield Row(name, other, mode, layouts[name], layouts[other], *speeds, memory[name], memory[other])


def with_equal_weights(name: str, x: Tensor) -> dict[str, nn.Module]:
    """Our network and its references, by label, all with the same weights; checked to give the same logits for x."""
    torch.manual_seed(0)
    ours = settle(create_model(name).to(x.device), x)
    networks, own = {name: ours}, ours.state_dict()
    for label in references(name):
        if label.startswith(PLAIN):
            networks[label] = transcribe(name, copy.deepcopy(ours))  # a copy may have a memory layout of its own
        else:
            networks[label] = network = build_reference(label).to(x.device)
            for key, tensor in rename(name, label.split(":")[0], network.state_dict()).items():
                tensor.copy_(own[key].reshape(tensor.shape))  # a state_dict shares the memory of the network
    with torch.inference_mode():
        logits = {label: network.eval()(x) for label, network in networks.items()}
    for label, theirs in logits.items():
        deviation = ((logits[name] - theirs).abs().max() / theirs.abs().max()).item()
        if not deviation < 1e-3:
            raise RuntimeError(f"{name} and {label} differ by {deviation:.1e} on equal weights: nothing to compare")
    return networks


def build_reference(reference: str) -> nn.Module:
    """The network that a reference such as ``"timm:resnet50"`` names, with random weights.

    torchvision's builders switch stochastic depth on, timm's and ours do not: it is switched off, so that all train
    the same network. Its networks for segmentation would download weights for their encoder, and give a dictionary:
    here they do not, and give the logits.
    """
    library, name = reference.split(":")
    if library == "timm":
        import timm

        return timm.create_model(name)
    import torchvision

    build = torchvision.models.get_model_builder(name)
    if build.__module__.startswith("torchvision.models.segmentation"):
        network = build(weights_backbone=None)
        network.register_forward_hook(lambda module, inputs, outputs: outputs["out"])
    else:
        network = build()
    for part in network.modules():
        if isinstance(part, torchvision.ops.StochasticDepth):
            part.p = 0.0
    return network


@torch.no_grad()
def settle(network: nn.Module, x: Tensor) -> nn.Module:
    """Give every BatchNorm the statistics of ``x``, and a weight that is not zero, as if trained; returns the network.

    In an untrained network the signal fades to numbers so small that the CPU treats them apart, and slowly.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.momentum = 1.0
    network.train()(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return network


def trainable_layouts(network: nn.Module) -> list[str]:
    """The layouts in which a CPU can train the network.

    oneDNN writes past its memory in the channels-last weight gradient of a strided 1x1 convolution with fewer than 16
    channels (uxlfoundation/oneDNN#6035), as timm's RepVGG has one.
    """
    broken = any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and max(m.stride) > 1 and m.in_channels < 16
        for m in network.modules()
    )
    return ["contiguous"] if broken and not torch.cuda.is_available() else list(LAYOUTS)


def fastest(network: nn.Module, x: Tensor, mode: str) -> tuple[str, Callable[[], None]]:
    """The name of the layout in which the network is faster, and the step to time; the network is left in it."""
    trial = {}
    for layout in trainable_layouts(network) if mode == "train" else LAYOUTS:
        step = make_step(network, x, mode, layout)
        step()
        trial[layout] = min(seconds(step) for _ in range(3 if mode == "train" else 6))
    best = min(trial, key=trial.get)
    step = make_step(network, x, mode, best)
    step()
    return best, step


def make_step(network: nn.Module, x: Tensor, mode: str, layout: str) -> Callable[[], None]:
    """What is timed: a step of training in the mode ``"train"``, or else a forward pass without gradients."""
    network.to(memory_format=LAYOUTS[layout])
    x = x.contiguous(memory_format=LAYOUTS[layout])
    if mode != "train":

        def step():
            network.eval()
            with torch.inference_mode():
                network(x)

        return step

    targets = torch.arange(len(x), device=x.device)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step():
        network.train()
        optimiser.zero_grad()
        logits = network(x)
        labels = targets.view(-1, *[1] * (logits.dim() - 2)).expand(len(x), *logits.shape[2:])
        F.cross_entropy(logits, labels).backward()
        optimiser.step()

    return step

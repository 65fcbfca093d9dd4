"""torch.compile without a graph break, forward and backward, at changing sizes; torch.export with a dynamic batch."""

import copy

import pytest
import torch
from torch import _dynamo as dynamo
from torch import nn

from .probes import assert_same, noise
from .subjects import SMALL, over

OLD_POOLING = torch.__version__ < "2.7"
# Source files whose modules fill up patches or windows where the size asks for it, and only there: one graph serves all
# sizes that need no filling. Here are such sizes, for patches of 12 or 16 pixels and windows of 7 or 8.
FILL_UP = {"acmix", "bi_level_routing", "ceit", "crossvit", "deit", "halo_attention", "super_token", "vit"}
WHOLE = {"model": [(2, 48, 96), (5, 96, 48), (4, 144, 144)], "block": [(2, 56, 112), (5, 112, 56), (4, 168, 168)]}
# Networks for which there are so many such cases that the compiler thinks about the sizes for minutes.
DECIDE_BY_SIZE = {"focal", "gcvit", "maxvit", "mobilevit", "pvt", "pvt_v2", "shunted", "swin", "swin_unet", "twins"}


def check_one_graph(build, shape):
    """Forward and backward in training mode are one graph, and give what eager mode gives."""
    dynamo.reset()
    module, x = build().train(), noise(shape)
    results = []
    for run in (copy.deepcopy(module), torch.compile(module, backend="eager", fullgraph=True)):
        x_in = x.clone().requires_grad_()
        torch.manual_seed(0)
        try:
            y = run(x_in)
        except dynamo.exc.TorchDynamoException as error:
            raise AssertionError(f"torch.compile breaks the graph: {error}") from error
        y.square().sum().backward()
        results.append((y.detach(), x_in.grad))
    (expected, expected_gradient), (y, gradient) = results
    assert_same(y, expected, "compiled output", 1e-4)
    assert_same(gradient, expected_gradient, "compiled gradient", 1e-4)


def check_one_graph_for_all_sizes(build, channels, sizes):
    """One compilation serves every batch size and image size in ``sizes``, given as (B, H, W)."""
    dynamo.reset()
    module = build().eval()
    compiled = torch.compile(module, backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad(), dynamo.config.patch(error_on_recompile=True):
        for batch, height, width in sizes:
            x = noise((batch, channels, height, width))
            try:
                y = compiled(x)
            except (dynamo.exc.TorchDynamoException, dynamo.exc.RecompileError) as error:
                raise AssertionError(f"torch.compile with dynamic shapes fails at {tuple(x.shape)}: {error}") from error
            assert_same(y, module(x), f"compiled output at {tuple(x.shape)}", 1e-4)


def check_export(build, shape):
    """torch.export traces the module with a free batch size, and the program gives the module's output."""
    module = build().eval()
    batch = torch.export.Dim("batch", min=1)
    try:
        program = torch.export.export(module, (noise(shape),), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:  # the tracer's errors have no common base
        raise AssertionError(f"torch.export fails: {type(error).__name__}: {error}") from error
    with torch.no_grad():
        for size in (1, shape[0] + 3):
            x = noise((size, *shape[1:]), seed=size)
            assert_same(program.module()(x), module(x), f"exported program at batch {size}", 1e-4)


@over(SMALL)
def test_one_graph(subject):
    check_one_graph(subject.build, (2, *subject.small_size))


@over(SMALL)
def test_one_graph_for_all_sizes(subject):
    if subject.entry.needs_size:
        pytest.skip("its parameters depend on the image size, as its docstring says")
    family = subject.entry.module.rpartition(".")[2]
    if family in DECIDE_BY_SIZE:
        pytest.skip("whether its windows are filled up depends on the size, so that another size is compiled anew")
    if OLD_POOLING and any(isinstance(module, nn.MaxPool2d) for module in subject.build().modules()):
        pytest.skip("before torch 2.7, compiled max pooling takes odd and even sizes for two cases, and compiles again")
    # Height and width differ at first, or the compiler takes them for one number; and the last map of a network is
    # nowhere a single pixel, in which the compiler does not know one memory layout from the other.
    more, side = subject.min_size - 1, subject.multiple
    sizes = [(batch, height + more, width + more) for batch, height, width in [(2, 40, 48), (5, 64, 33), (4, 37, 37)]]
    if family in FILL_UP:
        sizes = WHOLE[subject.kind]
    elif side > 1:
        sizes = [(batch, height * side, width * side) for batch, height, width in [(2, 2, 3), (5, 4, 2), (4, 3, 3)]]
    check_one_graph_for_all_sizes(subject.build, subject.default_size[0], sizes)


@over(SMALL)
def test_export(subject):
    check_export(subject.build, (2, *subject.small_size))

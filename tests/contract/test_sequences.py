"""The contract of the modules that take sequences: what applies to them of the others' points, and what they see.

They may give back another number of steps than they take, each in its own way: ``OUTPUT`` says how many. The order of
memory formats and the receptive field in pixels do not apply to them; causality and reach along time do.
"""

import copy
import inspect
import sys

import pytest
import torch
from torch import _dynamo as dynamo

import stitchwork
from stitchwork.analysis import recorded
from stitchwork.transcriptions import transcribe

from .probes import assert_same, awaken, exact, noise
from .subjects import Subject, over
from .test_batch import check_bad_neighbour, check_batch_independence
from .test_compilers import check_export, check_one_graph
from .test_counts import check_parameter_count
from .test_devices import check_built_on_meta, check_moved_to_meta, check_same_on_gpu, needs_gpu
from .test_documentation import BIBLIOGRAPHY, check_class_documented, check_entry, check_module_documented, check_name
from .test_errors import check_refused, check_refuses_argument, numeric_arguments
from .test_gradients import WITHOUT_GRADIENT, check_gradients
from .test_initialisation import check_scale, check_zero_input
from .test_persistence import check_copy, check_everything_registered, check_round_trip, pickled
from .test_precision import check_autocast, check_half_module
from .test_purity import check_eval_is_deterministic, check_eval_keeps_state, check_input_untouched
from .test_shapes import check_exact_or_refused, check_output_shape, check_single_item_in_training

SEQUENCES = [Subject(name, "block") for name in stitchwork.list_blocks() if stitchwork.describe(name).layout != "image"]
LENGTHS = (64, 70, 127)
# Steps out for T steps in.
OUTPUT = {
    "gated_dilated_inception": lambda steps: steps - 12,
    "pyramidal_attention": lambda steps: steps + steps // 4 + steps // 16 + steps // 64,
}
LEAST = {"gated_dilated_inception": 13, "pyramidal_attention": 64}


def shape_of(subject, batch=2, steps=70, dim=None):
    """A shape that suits the module: (B, T, C), or (B, C, N, T)."""
    dim = dim or subject.dim
    return (batch, steps, dim) if subject.entry.layout == "sequence" else (batch, dim, 3, steps)


def output_shape(subject, batch=2, steps=70, dim=None):
    return shape_of(subject, batch, OUTPUT[subject.name](steps), dim)


def check_all_lengths(build, shapes):
    """One compilation serves every batch size and length in ``shapes``."""
    dynamo.reset()
    module = build().eval()
    compiled = torch.compile(module, backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad(), dynamo.config.patch(error_on_recompile=True):
        for shape in shapes:
            x = noise(shape)
            try:
                y = compiled(x)
            except (dynamo.exc.TorchDynamoException, dynamo.exc.RecompileError) as error:
                raise AssertionError(f"torch.compile with dynamic shapes fails at {shape}: {error}") from error
            assert_same(y, module(x), f"compiled output at {shape}", 1e-4)


def check_reach(build, shape, time_axis, step, reach):
    """The steps in ``reach``, and no others, have an influence on the output's ``step`` (of the first item)."""
    module = awaken(build()).double().eval()
    x = noise(shape, dtype=torch.float64).requires_grad_()
    y = module(x).movedim(time_axis, 0)[step]
    (gradient,) = torch.autograd.grad(y[0].square().sum(), x)
    strength = gradient.movedim(time_axis, 0).flatten(1).abs().amax(1)
    found = set(strength.nonzero().flatten().tolist())
    assert found == set(reach), f"output step {step} sees {sorted(found)}, published: {sorted(reach)}"


def check_refuses_sequences(build, shape, channel_axis, time_axis, least):
    """Wrong rank, wrong channel count and too few steps are refused, with the shape and a way out."""
    module = build().eval()
    owner = type(module).__name__
    channels = shape[channel_axis]

    def changed(axis, size):
        return (*shape[:axis], size, *shape[axis + 1 :])

    for bad in (shape[1:], (*shape, 1), changed(channel_axis, channels + 1), changed(channel_axis, channels - 1)):
        check_refused(lambda bad=bad: module(noise(bad)), owner, str(bad), str(channels))
    module(noise(changed(time_axis, least)))
    for steps in (least - 1, 0):
        bad = changed(time_axis, steps)
        check_refused(lambda bad=bad: module(noise(bad)), owner, str(bad), f"at least {least} steps")


def check_equal(ours, plain, x):
    """Two modules give the same output and the same gradient."""
    results = []
    for module in (ours, plain):
        x_in = x.clone().requires_grad_()
        y = module(x_in)
        y.square().flatten(1)[:, ::7].sum().backward()
        results.append((y.detach(), x_in.grad))
    (y, gradient), (expected, expected_gradient) = results
    assert_same(y, expected, "the output, against the plain form's")
    assert_same(gradient, expected_gradient, "the gradient, against the plain form's")


def time_axis(subject):
    return 1 if subject.entry.layout == "sequence" else 3


def channel_axis(subject):
    return 2 if subject.entry.layout == "sequence" else 1


def test_every_module_for_sequences_is_here():
    assert {s.name for s in SEQUENCES} == set(OUTPUT) == set(LEAST)


@pytest.mark.parametrize("steps", LENGTHS)
@over(SEQUENCES)
def test_output_shape(subject, steps):
    check_output_shape(subject.build, shape_of(subject, steps=steps), output_shape(subject, steps=steps))


@over(SEQUENCES)
def test_twice_the_width(subject):
    shape = shape_of(subject, dim=128)
    check_output_shape(lambda: subject.build(dim=128), shape, output_shape(subject, dim=128))


@pytest.mark.parametrize("dim", [1, 24, 67])
@over(SEQUENCES)
def test_other_widths(subject, dim):
    shapes = shape_of(subject, dim=dim), output_shape(subject, dim=dim)
    check_exact_or_refused(lambda: subject.build(dim=dim), *shapes, shows=[dim])


@over(SEQUENCES)
def test_least_length_in_training(subject):
    check_single_item_in_training(subject.build, shape_of(subject, 1, LEAST[subject.name]))


@pytest.mark.parametrize("steps", LENGTHS)
@over(SEQUENCES)
def test_plain_form_agrees(subject, steps):
    block = exact(subject.build)
    x = noise(shape_of(subject, steps=steps), dtype=torch.float64)
    check_equal(block, transcribe(subject.name, block).eval(), x)


@over(SEQUENCES)
def test_batch_independence(subject):
    check_batch_independence(subject.build, shape_of(subject, 3))
    check_bad_neighbour(subject.build, shape_of(subject, 3))


def of_layout(layout):
    return pytest.mark.parametrize("subject", [s for s in SEQUENCES if s.entry.layout == layout], ids=str)


@pytest.mark.parametrize("step", [0, 17, 57])
@of_layout("series")
def test_causality(subject, step):
    """Output step s sees every second of the steps from s to s + 12, with which it ends, and nothing later."""
    check_reach(subject.build, shape_of(subject), time_axis(subject), step, range(step, step + 13, 2))


@pytest.mark.parametrize(
    ("node", "reach"),
    [
        (0, range(0, 4)),  # its parent's children, of which one is its neighbour
        (18, range(16, 20)),
        (19, range(16, 21)),  # its right neighbour has another parent
        (69, range(64, 70)),  # left over: a further child of the last parent, with one neighbour
        (70, range(0, 16)),  # the first node above: its neighbour's children, and its parent's grandchildren
        (91, range(0, 64)),  # the top
    ],
)
@of_layout("sequence")
def test_reach(subject, node, reach):
    """A node sees its neighbours, its children and its parent, which are summaries of the steps below them."""
    check_reach(subject.build, shape_of(subject), time_axis(subject), node, reach)


@over(SEQUENCES)
def test_gradients(subject):
    family = subject.entry.module.rpartition(".")[2]
    check_gradients(subject.build, shape_of(subject), WITHOUT_GRADIENT.get(family, {}))


@over(SEQUENCES)
def test_precision(subject):
    check_autocast(subject.build, shape_of(subject))
    check_half_module(subject.build, shape_of(subject))


@over(SEQUENCES)
def test_one_graph(subject):
    check_one_graph(subject.build, shape_of(subject))


@over(SEQUENCES)
def test_one_graph_for_all_lengths(subject):
    # From 128 steps on: a level of a single node is a case of its own for the compiler, like every axis of length one.
    sizes = ((2, 150), (5, 131), (3, 300))
    check_all_lengths(subject.build, [shape_of(subject, *size) for size in sizes])


@over(SEQUENCES)
def test_export(subject):
    check_export(subject.build, shape_of(subject))


@over(SEQUENCES)
def test_round_trip(subject, tmp_path):
    check_round_trip(subject.build, shape_of(subject), tmp_path / "state.safetensors")


@pytest.mark.parametrize("copier", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
@over(SEQUENCES)
def test_copies(subject, copier):
    check_everything_registered(subject.build)
    check_copy(subject.build, shape_of(subject), copier)


@over(SEQUENCES)
def test_devices(subject):
    check_built_on_meta(subject.build, shape_of(subject))
    check_moved_to_meta(subject.build, shape_of(subject))


@needs_gpu
@over(SEQUENCES)
def test_same_on_gpu(subject):
    check_same_on_gpu(subject.build, shape_of(subject))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@over(SEQUENCES)
def test_input_untouched(subject, training):
    check_input_untouched(subject.build, shape_of(subject), training)


@over(SEQUENCES)
def test_evaluation_leaves_no_trace(subject):
    check_eval_is_deterministic(subject.build, shape_of(subject))
    check_eval_keeps_state(subject.build, shape_of(subject))


@over(SEQUENCES)
def test_a_strided_view(subject):
    """Every second step of a longer sequence, in the place of a copy of them."""
    module, axis = exact(subject.build), time_axis(subject)
    long = noise(shape_of(subject, steps=140), dtype=torch.float64)
    view = long[:, ::2] if axis == 1 else long[..., ::2]
    with torch.no_grad():
        assert_same(module(view), module(view.contiguous()), "output of a strided view")


@over(SEQUENCES)
def test_initialisation(subject):
    check_scale(subject.build().train(), noise(shape_of(subject, 8)))
    check_zero_input(subject.build, shape_of(subject))


@over(SEQUENCES)
def test_parameter_count(subject):
    record = recorded(subject.name)["canonical"]
    dim = record["in"][0][channel_axis(subject)]
    check_parameter_count(lambda: subject.build(dim=dim), record["n_params"])


@over(SEQUENCES)
def test_refuses_inputs(subject):
    axes = channel_axis(subject), time_axis(subject)
    check_refuses_sequences(subject.build, shape_of(subject), *axes, LEAST[subject.name])


@pytest.mark.parametrize(
    ("subject", "argument"),
    [pytest.param(s, a, id=f"{s}-{a}") for s in SEQUENCES for a in numeric_arguments(s.entry.constructor)],
)
def test_refuses_argument(subject, argument):
    check_refuses_argument(subject.build, argument)


@over(SEQUENCES)
def test_documentation(subject):
    check_name(subject.name)
    check_entry(subject.entry)
    module = sys.modules[subject.entry.module]
    check_module_documented(module)
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__:
            check_class_documented(cls)
    assert f"{{{subject.entry.paper}," in BIBLIOGRAPHY.read_text(encoding="utf-8")

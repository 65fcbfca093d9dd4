import pytest
import torch
import torch.nn.functional as F

from stitchwork.analysis import gradient_support
from stitchwork.blocks.acmix import ACmix, reflect
from stitchwork.transcriptions import transcribe


@pytest.fixture
def block():
    torch.manual_seed(0)
    return ACmix(8, head=2).double().eval()


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mirrored(index, size):
    """The pixel that stands at ``index`` of an axis which is reflected for ever."""
    period = max(1, 2 * (size - 1))
    return min(index % period, period - index % period) if size > 1 else 0


def test_reflection():
    line = torch.arange(3.0).reshape(1, 1, 1, 3)
    assert reflect(line, 2)[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 1, 0]
    assert reflect(line, 5)[0, 0, 0].tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]
    assert reflect(line, 2).shape == (1, 1, 5, 7)
    x = image(1, 2, 9, 5)
    torch.testing.assert_close(reflect(x, 3), F.pad(x, [3] * 4, mode="reflect"))


@pytest.mark.parametrize("size", [(9, 10), (4, 4), (2, 5), (1, 9), (1, 1)])
def test_attention_equals_the_formula(block, size):
    """Pixel by pixel and key by key, with the positions as the paper has them."""
    height, width = size
    q, k, v = (image(3, 1, 8, *size)[i] for i in range(3))
    p = block.positions(k)[0]
    expected = torch.empty_like(v)
    for head in (slice(0, 4), slice(4, 8)):
        for i in range(height):
            for j in range(width):
                window = [
                    (mirrored(i + di, height), mirrored(j + dj, width)) for di in range(-3, 4) for dj in range(-3, 4)
                ]
                keys = torch.stack([k[0, head, a, b] + p[:, i, j] - p[:, a, b] for a, b in window])
                values = torch.stack([v[0, head, a, b] for a, b in window])
                weights = (keys @ q[0, head, i, j] / 4**0.5).softmax(0)
                expected[0, head, i, j] = weights @ values
    torch.testing.assert_close(block.attend(q, k, v), expected)


def test_positions_run_from_minus_one_to_one(block):
    torch.nn.init.eye_(block.position.weight[:2, :, 0, 0].data)
    block.position.bias.data.zero_()
    columns, rows = block.positions(image(1, 8, 3, 5))[0, :2]
    torch.testing.assert_close(columns, torch.linspace(-1, 1, 5, dtype=torch.float64).expand(3, 5))
    torch.testing.assert_close(rows, torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None].expand(3, 5))


def test_positions_count_beyond_256_in_half_precision(block):
    columns = block.bfloat16().positions(torch.empty(1, 8, 1, 700, dtype=torch.bfloat16))
    expected = block.double().positions(torch.empty(1, 8, 1, 700, dtype=torch.float64))
    torch.testing.assert_close(columns.double(), expected, atol=0.02, rtol=0)


def test_convolution_starts_as_shifts(block):
    """Tap t of the k^2 maps is shifted by t's place in the kernel, and the taps are summed."""
    q, k, v = (image(3, 1, 8, 6, 7)[i] for i in range(3))
    heads = torch.cat([z.reshape(1, 2, 4, 6, 7) for z in (q, k, v)], 1)  # (1, 3h, d, H, W)
    maps = torch.einsum("tm,bmdhw->btdhw", block.fc.weight[..., 0, 0], heads)
    padded = F.pad(maps, [1] * 4)
    places = [(i, j) for i in range(3) for j in range(3)]
    summed = sum(padded[:, t, :, i : i + 6, j : j + 7] for t, (i, j) in enumerate(places))  # (1, d, H, W)
    torch.testing.assert_close(block.convolve(q, k, v), summed.repeat_interleave(2, 1))  # number i is at i h + n


def test_the_two_are_added_at_learned_rates(block):
    x = image(2, 8, 6, 7)
    assert block.rate_att.item() == block.rate_conv.item() == 0.5
    block.rate_att.data.fill_(2.0)
    block.rate_conv.data.fill_(-1.0)
    qkv = block.query(x), block.key(x), block.value(x)
    torch.testing.assert_close(block(x), 2 * block.attend(*qkv) - block.convolve(*qkv))


def test_dilated_window():
    """With dilation 2 the 49 keys are every second pixel of 13 x 13."""
    torch.manual_seed(0)
    block = ACmix(8, dilation=2)
    block.rate_conv.data.zero_()
    support = gradient_support(block, (1, 8, 17, 17))
    expected = torch.zeros(17, 17, dtype=torch.bool)
    expected[2:15:2, 2:15:2] = True
    assert torch.equal(support, expected)


def test_other_kernels_keep_the_size():
    for kernel_att, kernel_conv in ((3, 1), (5, 5), (9, 3)):
        assert ACmix(8, kernel_att=kernel_att, kernel_conv=kernel_conv)(torch.randn(1, 8, 5, 11)).shape == (1, 8, 5, 11)


def test_no_seam_between_tiles(block):
    """Far from the border and with equal positions, a shifted image gives the shifted output."""
    block.position.weight.data.zero_()
    x = image(1, 8, 30, 30)
    torch.testing.assert_close(block(x[..., 3:, 5:])[..., 4:-4, 4:-4], block(x)[..., 7:-4, 9:-4])


def test_equals_its_plain_form_in_single_precision(block):
    block, x = block.float(), image(2, 8, 13, 9).float()
    torch.testing.assert_close(block(x), transcribe("acmix", block)(x))


@pytest.mark.parametrize(("dim", "head", "kernel_conv"), [(64, 4, 3), (24, 2, 5)])
def test_parameters(dim, head, kernel_conv):
    d, taps = dim // head, kernel_conv**2
    expected = 3 * dim * (dim + 1) + 3 * d + 3 * head * taps + taps**2 * dim + 2
    assert sum(p.numel() for p in ACmix(dim, head=head, kernel_conv=kernel_conv).parameters()) == expected


@pytest.mark.parametrize("arguments", [{"kernel_att": 4}, {"kernel_conv": 2}])
def test_even_kernels_are_refused(arguments):
    with pytest.raises(ValueError, match="must be odd"):
        ACmix(8, **arguments)


def test_dim_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="dim must be a multiple of head=4; got dim=67"):
        ACmix(67)

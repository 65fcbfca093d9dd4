import pytest
import timm.layers

from stitchwork.layers import make_divisible

# The channel counts of the published networks: stem, the seven stages (each width once), and the head where it scales.
PUBLISHED = {
    ("MobileNetV2", 0.35): {32: 16, 16: 8, 24: 8, 64: 24, 96: 32, 160: 56, 320: 112},
    ("MobileNetV2", 0.5): {32: 16, 16: 8, 24: 16, 64: 32, 96: 48, 160: 80, 320: 160},
    ("MobileNetV2", 0.75): {32: 24, 16: 16, 24: 24, 64: 48, 96: 72, 160: 120, 320: 240},
    ("MobileNetV2", 1.4): {32: 48, 16: 24, 24: 32, 64: 88, 96: 136, 160: 224, 320: 448, 1280: 1792},
    ("EfficientNet-B2", 1.1): {32: 32, 16: 16, 24: 24, 40: 48, 80: 88, 112: 120, 192: 208, 320: 352, 1280: 1408},
}


@pytest.mark.parametrize("network", PUBLISHED, ids=lambda n: f"{n[0]}-{n[1]}")
def test_published_widths(network):
    widths = PUBLISHED[network]
    assert {c: make_divisible(c * network[1]) for c in widths} == widths


def test_agrees_with_timm():
    for channels in range(1, 500):
        for factor in (0.25, 0.3, 1, 1.3):
            assert make_divisible(channels * factor) == timm.layers.make_divisible(channels * factor)


@pytest.mark.parametrize("divisor", [1, 4, 8, 16])
def test_properties(divisor):
    for channels in range(1, 300):
        rounded = make_divisible(channels, divisor)
        assert rounded % divisor == 0
        assert rounded >= max(divisor, 0.9 * channels)
        assert abs(rounded - channels) <= divisor

"""Any pyramid network as the encoder of a U-Net.

>>> model = stitchwork.encoder_decoder("convnext_tiny", num_classes=9, in_chans=1)
>>> model(torch.randn(2, 1, 224, 224)).shape
torch.Size([2, 9, 224, 224])
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, Segmenter, check_positive, init_conv_weights
from stitchwork.registry import create_model, describe, list_models


class DecoderStage(nn.Module):
    """Scale a map up to the size of the encoder's, join the two, convolve twice.

    Args:
        dim: channels of the map from below.
        skip_dim: channels of the encoder's map; 0 where there is none.
        out_dim: channels of the result.

    Shapes:
        (B, dim, h, w), the encoder's (B, skip_dim, H, W) -> (B, out_dim, H, W)
    """

    def __init__(self, dim: int, skip_dim: int, out_dim: int):
        super().__init__()
        self.convolve = nn.Sequential(ConvNormAct(dim + skip_dim, out_dim, 3), ConvNormAct(out_dim, out_dim, 3))

    def forward(self, x: Tensor, size: tuple[int, int], skip: Tensor | None = None) -> Tensor:
        """(B, dim, h, w), and (B, skip_dim, H, W) if there is one -> (B, out_dim, H, W)."""
        x = F.interpolate(x, size=size, mode="bilinear")
        return self.convolve(x if skip is None else torch.cat([x, skip], 1))


class EncoderDecoder(Segmenter):
    """An encoder with ``forward_pyramid``, and the decoder of a U-Net on its maps.

    Args:
        encoder: gives maps from large to small.
        in_chans: channels of the input image.
        num_classes: number of logits for each pixel; 0 gives the features (B, widths[-1], H, W).
        widths: channels of the decoder's stages, from the bottom up: one for each map of the encoder but the smallest,
            and a last one for the full size.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), for the sizes that the encoder takes.

    Raises:
        ValueError: wrong rank, channel count or size of the input; widths that do not fit the encoder.
    """

    def __init__(self, encoder: nn.Module, in_chans: int, num_classes: int, widths: tuple[int, ...]):
        check_positive("EncoderDecoder", widths=min(widths))
        super().__init__(in_chans, widths[-1])
        channels = encoder.pyramid_channels
        if len(widths) != len(channels):
            raise ValueError(
                f"EncoderDecoder: an encoder with {len(channels)} maps needs as many widths; got {widths}: take "
                f"{len(channels)} numbers, from the bottom up"
            )
        self.encoder, self.pyramid_channels = encoder, channels
        self.min_size, self.multiple = encoder.min_size, getattr(encoder, "multiple", 1)
        dims, skips = (channels[-1], *widths), (*channels[-2::-1], 0)
        self.decoder = nn.ModuleList(DecoderStage(*part) for part in zip(dims, skips, widths))
        self.decoder.apply(init_conv_weights)
        self.reset_head(num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's maps: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        return self.encoder.forward_pyramid(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, widths[-1], H, W)."""
        *skips, y = self.forward_pyramid(x)
        for stage, skip in zip(self.decoder, skips[::-1]):
            y = stage(y, skip.shape[2:], skip)
        return self.decoder[-1](y, x.shape[2:])


def encoder_decoder(
    encoder_name: str,
    num_classes: int,
    in_chans: int = 3,
    *,
    weights: str | None = None,
    widths: tuple[int, ...] | None = None,
    **kwargs,
) -> EncoderDecoder:
    """A segmentation network with any registered pyramid network as its encoder.

    Args:
        encoder_name: a network with ``forward_pyramid``; :func:`list_encoders` has all names. Of a network that is a
            decoder as well only the encoder works; what it would do with its last map stays idle.
        num_classes: number of logits for each pixel; 0 gives the features.
        in_chans: channels of the input image.
        weights: of the encoder, as in :func:`~stitchwork.create_model`.
        widths: channels of the decoder's stages from the bottom up; by default 256, 128, 64 and 32 for four maps, and
            512 before them for five.
        **kwargs: the encoder's own arguments.

    Raises:
        ValueError: an unknown network, or one without a pyramid.
    """
    if not hasattr(describe(encoder_name).constructor, "forward_pyramid"):
        raise ValueError(
            f"{encoder_name} has no forward_pyramid, so it cannot be an encoder: take one of list_encoders(), such as "
            "'resnet50' or 'pvt_v2_b2'"
        )
    encoder = create_model(encoder_name, num_classes=0, in_chans=in_chans, weights=weights, **kwargs)
    if widths is None:
        widths = (512, 256, 128, 64, 32)[-len(encoder.pyramid_channels) :]
    return EncoderDecoder(encoder, in_chans, num_classes, widths)


def list_encoders() -> list[str]:
    """The names of the networks that can be the encoder of :func:`encoder_decoder`."""
    return [name for name in list_models() if hasattr(describe(name).constructor, "forward_pyramid")]

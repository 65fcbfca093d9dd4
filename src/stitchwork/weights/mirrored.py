"""One encoder's weights into both halves of a network whose decoder is the encoder in a mirror."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from stitchwork.models.evit_unet import EViTUNet
from stitchwork.registry import describe
from stitchwork.weights.loading import _list, _read, _reshaped, rename

LAST = 3  # the encoder's stages are 0 to 3, and the decoder begins with the mirror image of the last


@dataclass(frozen=True)
class Mirrored:
    """What became of the tensors.

    Attributes:
        loaded: for each tensor of the network that was loaded the encoder's that it is a copy of.
        kept: the tensors of the network that are as they were.
        unused: the tensors of the encoder that went nowhere, such as its classifier's.
    """

    loaded: dict[str, str]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """For people: the numbers of each."""
        return f"{len(self.loaded)} tensors loaded, {len(self.kept)} kept, {len(self.unused)} of the encoder's unused"


def load_mirrored(
    model: EViTUNet, name: str, state_dict: Mapping[str, Tensor] | str | os.PathLike, source: str | None = None
) -> Mirrored:
    """Load a trained EfficientFormerV2 into both halves of an EViT-UNet.

    This is how the official training begins. The encoder is that network, and the blocks of each of the decoder's
    stages are those of the encoder's stage for the same map. Where the encoder halves the map, the decoder doubles it:
    there go the tensors whose shapes agree, among them the kernel of a convolution with a stride, which as that of a
    transposed one leads back from its channels out to its channels in. All others stay as they were: the first
    convolution, where the images have another number of channels; the normalisations of the skips; what joins a skip;
    and the layers behind the last stage.

    Args:
        model: the network, changed in place.
        name: the registered name of the encoder, such as ``"efficientformerv2_l"``.
        state_dict: of the encoder, or the path of a ``.safetensors`` file that has it.
        source: ``"timm"`` if the tensors have timm's names; without it they have ours.

    Returns:
        Which tensors were loaded, and which not.

    Raises:
        ValueError: the tensors are not those of an EfficientFormerV2 of the same size as the network's encoder, which
            then is as it was.
        TypeError: ``model`` is no EViT-UNet.
        FileNotFoundError: a path where there is no file.
    """
    if not isinstance(model, EViTUNet):
        raise TypeError(f"load_mirrored fills the two halves of an EViTUNet; got {type(model).__name__}")
    if not describe(name).module.endswith(".efficientformerv2"):
        raise ValueError(f"the encoder of EViT-UNet is an efficientformerv2, in one of its sizes; got {name!r}")
    if not isinstance(state_dict, Mapping):
        state_dict = _read(state_dict)
    if source is not None:
        state_dict = rename(name, source, state_dict)

    own = model.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise ValueError("this EViTUNet is on the meta device and has no memory to load into")
    check_encoder(own, state_dict, name)
    tensors, loaded = {}, {}
    for theirs, tensor in state_dict.items():
        for ours in places(theirs):
            if ours in own and (fitting := _reshaped(tensor, own[ours])).shape == own[ours].shape:
                tensors[ours], loaded[ours] = fitting, theirs
    model.load_state_dict(tensors, strict=False)
    used = set(loaded.values())
    return Mirrored(
        loaded, tuple(key for key in own if key not in loaded), tuple(key for key in state_dict if key not in used)
    )


def places(name: str) -> list[str]:
    """Where a tensor of the encoder goes: to its own place, and in the decoder to that in the mirror."""
    if name.startswith("stem."):
        return [name]
    if not (match := re.fullmatch(r"stages\.(\d)\.(blocks|downsample)\.(.*)", name)):
        return []
    stage, part, rest = int(match[1]), match[2], match[3]
    # Between stages i - 1 and i the encoder shrinks the map, and the decoder grows it in front of the mirror of i - 1.
    mirror = f"up_stages.{LAST - stage}" if part == "blocks" else f"grow.{LAST - stage + 1}"
    return [name, f"{mirror}.{rest}"]


def check_encoder(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str) -> None:
    """Refuse an encoder whose stages are not exactly those of the network."""
    problems = []
    stages = [key for key in own if key.startswith("stages.")]
    if missing := [key for key in stages if key not in tensors and not key.endswith("num_batches_tracked")]:
        problems.append(f"lacks {_list(missing)}")
    if unexpected := [key for key in tensors if key.startswith("stages.") and key not in own]:
        problems.append(f"has {_list(unexpected)}, which the network has not")
    if misshapen := [
        f"{key} as {tuple(tensors[key].shape)} for {tuple(own[key].shape)}"
        for key in stages
        if key in tensors and _reshaped(tensors[key], own[key]).shape != own[key].shape
    ]:
        problems.append(f"has {_list(misshapen)}")
    if problems:
        raise ValueError(
            f"these weights of {name} are not of this network's encoder: it {'; '.join(problems)}. Take the encoder of "
            "the same size (efficientformerv2_l for evit_unet, efficientformerv2_s0 for evit_unet_s0), and the same "
            "train_size"
        )

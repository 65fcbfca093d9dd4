"""Networks as ONNX files, which other programs run, and the proof that they compute the same.

>>> difference = export_onnx(model, "net.onnx", size=224)
"""

import os
import warnings
from pathlib import Path

import torch
from torch import nn


def export_onnx(model: nn.Module, path: str | os.PathLike, size: int = 224, tolerance: float = 1e-3) -> float:
    """Write a network as ONNX, for batches of any length, and compare it in onnxruntime with torch.

    The file takes ``image`` (B, in_chans, size, size) and gives ``logits``. It appears under its name only if it has
    passed: for batches of one, two and five images of noise.

    Args:
        model: of this package, or any with an attribute ``in_chans``; it is exported in evaluation mode, on the CPU.
        path: an ``.onnx`` file in a folder that exists.
        size: side of the images in pixels.
        tolerance: the greatest difference of a logit that is accepted, as a share of the greatest logit (at least 1).

    Returns:
        The greatest such difference.

    Raises:
        ValueError: another ending, a size that the network does not take, or outputs that differ by more.
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is not installed.
    """
    import onnx  # noqa: F401 - torch needs it, and says so less clearly
    import onnxruntime
    import onnxscript  # noqa: F401

    path = Path(path)
    if path.suffix != ".onnx" or not path.parent.is_dir():
        raise ValueError(f"a network is exported to an .onnx file in a folder that exists; got {path}")
    if tolerance <= 0:
        raise ValueError(f"export_onnx: tolerance must be greater than 0; got {tolerance}")
    home, training = next((p.device for p in model.parameters()), torch.device("cpu")), model.training
    unfinished = path.with_name(f"{path.name}.part")
    generator = torch.Generator().manual_seed(0)
    try:
        model.cpu().eval()
        images = [torch.rand(batch, model.in_chans, size, size, generator=generator) for batch in (2, 1, 5)]
        with torch.no_grad():
            expected = [model(image) for image in images]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter warns of itself
            torch.onnx.export(
                model,
                (images[0],),
                unfinished,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        session = onnxruntime.InferenceSession(unfinished, providers=["CPUExecutionProvider"])
        found = [torch.from_numpy(session.run(None, {"image": image.numpy()})[0]) for image in images]
        scale = max(1.0, *(logits.abs().max().item() for logits in expected))
        difference = max((a - b).abs().max().item() for a, b in zip(found, expected)) / scale
        if not difference <= tolerance:
            raise ValueError(
                f"the ONNX file does not compute what torch does: logits differ by {difference:.2g}, more than "
                f"tolerance={tolerance:.2g}; it was not kept"
            )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
        model.to(home).train(training)
    return difference

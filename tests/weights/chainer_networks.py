"""The networks of pfnet-research/sngan_projection in NumPy: random snapshots, and their results.

Written from gen_models/, dis_models/ and source/links/ at commit e84b1a5. Layouts are Chainer's:
images (n, c, h, w), convolutions (out, in, h, w), dense layers (out, in).
"""

import itertools

import numpy as np


def generator(seed, widths=(4, 4, 4, 4), latent=6, bottom=4, classes=0, channels=3):
    """Arrays of a snapshot of G by name, as in ResNetGenerator_1000.npz."""
    draw = Draw(seed)
    arrays = {"l1/W": draw(bottom**2 * widths[0], latent), "l1/b": draw(bottom**2 * widths[0])}
    for i, (before, width) in enumerate(itertools.pairwise(widths), start=2):
        for name, shape in (("c1", (width, before, 3, 3)), ("c2", (width, width, 3, 3)),
                            ("c_sc", (width, before, 1, 1))):
            arrays |= {f"block{i}/{name}/W": draw(*shape), f"block{i}/{name}/b": draw(width)}
        for name, size in (("b1", before), ("b2", width)):
            arrays |= draw.norm(f"block{i}/{name}", size, classes)
    last = len(widths) + 1
    arrays |= draw.norm(f"b{last}", widths[-1], 0)
    name = "c5" if last == 5 else f"l{last}"  # gen_models/resnet_32.py calls it so
    return arrays | {f"{name}/W": draw(channels, widths[-1], 3, 3), f"{name}/b": draw(channels)}


def discriminator(seed, widths=(4, 4, 4, 4), halving=2, classes=0, bias=False, channels=3,
                  concat=0):
    """The arrays of a snapshot of D; concat: the width of a class row beside block 4's input."""
    draw = Draw(seed)
    arrays = {}
    before = channels
    for i, width in enumerate(widths, start=1):
        before += concat if i == 4 else 0
        hidden = width if i == 1 else before
        shapes = {"c1": (hidden, before, 3, 3), "c2": (width, hidden, 3, 3)}
        if i <= halving or before != width:
            shapes["c_sc"] = (width, before, 1, 1)
        for name, shape in shapes.items():
            arrays |= draw.normalized(f"block{i}/{name}", shape)
        before = width
    arrays |= draw.normalized(f"l{len(widths) + 1}", (1, before), bias)
    if classes:
        arrays |= draw.normalized("l_y", (classes, concat or before), bias=False)
    return arrays


class Draw:
    """Random float32 arrays."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape):
        return self.rng.normal(size=shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]) or 1,
                                                                        dtype=np.float32)

    def norm(self, name, size, classes):
        """Batch norm; a scale and a shift for each class, or one."""
        arrays = {f"{name}/avg_mean": self(size), f"{name}/avg_var": np.abs(self(size)) + 0.5,
                  f"{name}/N": np.array(0)}
        if classes:
            return arrays | {f"{name}/gammas/W": 1 + self(classes, size),
                             f"{name}/betas/W": self(classes, size)}
        return arrays | {f"{name}/gamma": 1 + self(size), f"{name}/beta": self(size)}

    def normalized(self, name, shape, bias=True):
        """A layer with spectral normalization: W, u and perhaps b."""
        arrays = {f"{name}/W": self(*shape), f"{name}/u": self.rng.normal(
            size=(1, shape[0])).astype(np.float32)}
        return arrays | ({f"{name}/b": self(shape[0])} if bias else {})


def images_of(arrays, z, y=None, epsilon=2e-5):
    """G in test mode: z (n, d), labels (n,) -> (n, c, h, w)."""
    a = {name: np.asarray(value, np.float64) for name, value in arrays.items()}

    def norm(name, x):
        mean, var = (a[f"{name}/avg_{part}"][None, :, None, None] for part in ("mean", "var"))
        x = (x - mean) / np.sqrt(var + epsilon)
        if f"{name}/gammas/W" in a:
            gamma, beta = (a[f"{name}/{part}/W"][y] for part in ("gammas", "betas"))
        else:
            gamma, beta = (a[f"{name}/{part}"][None] for part in ("gamma", "beta"))
        return x * gamma[:, :, None, None] + beta[:, :, None, None]

    def conv(name, x):
        return convolution(x, a[f"{name}/W"], a[f"{name}/b"])

    h = z @ a["l1/W"].T + a["l1/b"]
    channels = a["block2/c1/W"].shape[1]
    side = round((h.shape[1] / channels) ** 0.5)
    h = h.reshape(len(z), channels, side, side)
    i = 2
    while f"block{i}/c1/W" in a:
        x, block = h, f"block{i}"
        h = conv(f"{block}/c1", unpooled(np.maximum(norm(f"{block}/b1", h), 0)))
        h = conv(f"{block}/c2", np.maximum(norm(f"{block}/b2", h), 0))
        h = h + conv(f"{block}/c_sc", unpooled(x))
        i += 1
    h = np.maximum(norm(f"b{i}", h), 0)
    return np.tanh(conv(f"c{i}" if f"c{i}/W" in a else f"l{i}", h))


def logits_of(arrays, x, y=None, halving=2):
    """D in test mode, each weight over its σ after one power step: (n, c, h, w) -> (n,)."""
    a = {name: np.asarray(value, np.float64) for name, value in arrays.items()}

    def bar(name):
        weight, u = a[f"{name}/W"], a[f"{name}/u"][0]
        matrix = weight.reshape(len(weight), -1)
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
        return weight / (u @ matrix @ v)

    def conv(name, x):
        return convolution(x, bar(name), a[f"{name}/b"])

    h, i = x, 1
    while f"block{i}/c1/W" in a:
        block, x = f"block{i}", h
        if (inner := a[f"{block}/c1/W"].shape[1]) != h.shape[1]:
            row = bar("l_y")[y][:, :, None, None]
            assert inner == h.shape[1] + row.shape[1]
            x = h = np.concatenate([h, np.broadcast_to(row, (*row.shape[:2], *h.shape[2:]))], 1)
        h = conv(f"{block}/c1", h if i == 1 else np.maximum(h, 0))
        h = conv(f"{block}/c2", np.maximum(h, 0))
        if i <= halving:
            h = pooled(h)
        if i == 1:
            x = conv(f"{block}/c_sc", pooled(x))
        elif f"{block}/c_sc/W" in a:
            x = conv(f"{block}/c_sc", x)
            x = pooled(x) if i <= halving else x
        h, i = h + x, i + 1
    h = np.maximum(h, 0).sum((2, 3))
    logits = h @ bar(f"l{i}")[0] + a.get(f"l{i}/b", 0)
    if y is not None and a["l_y/W"].shape[1] == h.shape[1]:
        logits = logits + (bar("l_y")[y] * h).sum(1)
    return logits


def convolution(x, weight, bias):
    """Stride 1, the size kept: (n, in, h, w), (out, in, k, k) -> (n, out, h, w)."""
    pad = weight.shape[2] // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))
    return np.einsum("nihwkl,oikl->nohw", windows, weight, optimize=True) + bias[:, None, None]


def unpooled(x):
    """Repeats every pixel twice along both sides."""
    return x.repeat(2, 2).repeat(2, 3)


def pooled(x):
    """Means over 2x2 squares."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))

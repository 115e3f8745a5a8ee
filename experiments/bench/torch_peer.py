"""The same iteration in plain PyTorch, with torch.nn layers and PyTorch's spectral norm.

It is written from the paper's tables, without any of our code: the residual networks at 32x32
(Table 4) and the standard CNN (Table 3), unconditional, hinge or non-saturating loss, Adam.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.methods import method_of

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm
except ImportError:
    raise UserError('PyTorch is not installed: pip install "sngan_jax[bench]"') from None


class UpBlock(nn.Module):
    """norm - ReLU - x2 - conv - norm - ReLU - conv, and a 1x1 shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x):
        h = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2))
        h = self.conv2(F.relu(self.norm2(h)))
        return h + self.shortcut(F.interpolate(x, scale_factor=2))


class ResNetG(nn.Module):
    """Table 4, left."""

    def __init__(self, width: int, latent: int, channels: int):
        super().__init__()
        self.width = width
        self.dense = nn.Linear(latent, 16 * width)
        self.blocks = nn.Sequential(*(UpBlock(width) for _ in range(3)))
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z):
        x = self.blocks(self.dense(z).view(-1, self.width, 4, 4))
        return torch.tanh(self.conv(F.relu(self.norm(x))))


class DownBlock(nn.Module):
    """[ReLU] - conv - ReLU - conv - [mean], and a 1x1 shortcut if the shape changes."""

    def __init__(self, inputs: int, width: int, down: bool, first: bool, sn: Callable):
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = sn(nn.Conv2d(inputs, width, 3, padding=1))
        self.conv2 = sn(nn.Conv2d(width, width, 3, padding=1))
        self.shortcut = sn(nn.Conv2d(inputs, width, 1)) if down or inputs != width else None

    def forward(self, x):
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.first:
            return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return F.avg_pool2d(h, 2) + F.avg_pool2d(x, 2) if self.down else h + x


class ResNetD(nn.Module):
    """Table 4, right."""

    def __init__(self, width: int, channels: int, sn: Callable):
        super().__init__()
        self.blocks = nn.Sequential(
            DownBlock(channels, width, True, True, sn), DownBlock(width, width, True, False, sn),
            DownBlock(width, width, False, False, sn), DownBlock(width, width, False, False, sn))
        self.dense = sn(nn.Linear(width, 1, bias=False))

    def forward(self, x):
        return self.dense(F.relu(self.blocks(x)).sum((2, 3)))[:, 0]


def cnn_g(width: int, latent: int, channels: int) -> nn.Module:
    """Table 3, left, for 32x32."""
    layers = [nn.Linear(latent, 16 * 8 * width), nn.Unflatten(1, (8 * width, 4, 4)),
              nn.BatchNorm2d(8 * width), nn.ReLU()]
    for inputs in (8, 4, 2):
        layers += [nn.ConvTranspose2d(inputs * width, inputs * width // 2, 4, 2, 1),
                   nn.BatchNorm2d(inputs * width // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())


def cnn_d(width: int, channels: int, sn: Callable) -> nn.Module:
    """Table 3, right, for 32x32."""
    layers, inputs = [], channels
    for i, multiple in enumerate((1, 1, 2, 2, 4, 4, 8)):
        kernel, stride = (4, 2) if i % 2 else (3, 1)
        layers += [sn(nn.Conv2d(inputs, multiple * width, kernel, stride, 1)), nn.LeakyReLU(0.1)]
        inputs = multiple * width
    return nn.Sequential(*layers, nn.Flatten(), sn(nn.Linear(16 * inputs, 1)), nn.Flatten(0))


def iteration(config: Any, channels: int, sizes: list[int], *, compiled: bool
              ) -> Callable[[], None]:
    """A function that does one iteration (`iterations_per_call` of them), eager or compiled.

    Args:
      sizes: numbers of parameters that G and D must have to be the same networks.

    Raises:
      UserError: for a config without a counterpart here.
    """
    method = method_of(config)
    if (config.model not in ("resnet32", "cnn") or config.image_size != 32
            or config.image_width not in (0, 32) or config.conditional
            or config.method not in ("sn", "none") or method.loss not in _LOSSES
            or method.activation_norm != "none" or method.regularizer != "none"):
        raise UserError("the PyTorch peer has the unconditional models resnet32 and cnn at 32x32, "
                        "with the methods sn and none and the losses hinge and non_saturating: "
                        "choose among them, or leave torch out of --compare")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sn = spectral_norm if config.method == "sn" else (lambda layer: layer)
    if config.model == "cnn":
        g = cnn_g(config.generator_width or 64, config.latent_size, channels)
        d = cnn_d(config.discriminator_width or 64, channels, sn)
    else:
        g = ResNetG(config.generator_width or 256, config.latent_size, channels)
        d = ResNetD(config.discriminator_width or 128, channels, sn)
    found = [sum(p.numel() for p in net.parameters()) for net in (g, d)]
    if found != sizes:
        raise UserError(f"the PyTorch peer's networks have {found} parameters, but those of this "
                        f"config have {sizes}: leave the fields of its networks as they are")
    g, d = (net.to(device, memory_format=torch.channels_last).train() for net in (g, d))
    g_adam, d_adam = (torch.optim.Adam(net.parameters(), config.learning_rate,
                                       (config.beta1, config.beta2)) for net in (g, d))
    d_loss, g_loss = _LOSSES[method.loss]
    if compiled:
        g, d = torch.compile(g), torch.compile(d)
    images = torch.randint(0, 256, (512, channels, 32, 32), dtype=torch.uint8, device=device)
    half = torch.autocast(device, torch.bfloat16, enabled=config.dtype == "bfloat16")

    def one() -> None:
        for _ in range(config.n_dis):
            rows = torch.randint(len(images), (config.batch_size,), device=device)
            real = images[rows].float() / 128 - 1
            real += torch.rand_like(real) / 128
            real = real.contiguous(memory_format=torch.channels_last)
            with half, torch.no_grad():
                fake = g(torch.randn(config.batch_size, config.latent_size, device=device))
            d_adam.zero_grad(set_to_none=True)
            # One backward pass each, as in PyTorch's own DCGAN: a second forward pass would change
            # the vectors of the power iteration while the compiled first one still needs them.
            for loss, images_of in ((d_loss[0], real), (d_loss[1], fake)):
                with half:
                    logits = d(images_of)
                loss(logits.float()).backward()
            d_adam.step()
        for parameter in d.parameters():
            parameter.requires_grad_(False)
        with half:
            z = torch.randn(config.generator_batch_size, config.latent_size, device=device)
            loss = g_loss(d(g(z)).float())
        g_adam.zero_grad(set_to_none=True)
        loss.backward()
        g_adam.step()
        for parameter in d.parameters():
            parameter.requires_grad_(True)

    def call() -> None:
        for _ in range(config.iterations_per_call):
            one()
        if device == "cuda":
            torch.cuda.synchronize()

    return call


# (of real, of fake images) and the generator's.
_LOSSES = {
    "hinge": ((lambda real: F.relu(1 - real).mean(), lambda fake: F.relu(1 + fake).mean()),
              lambda fake: -fake.mean()),
    "non_saturating": ((lambda real: F.softplus(-real).mean(),
                        lambda fake: F.softplus(fake).mean()),
                       lambda fake: F.softplus(-fake).mean())}

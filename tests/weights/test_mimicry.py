"""mimicry's checkpoints: their names, and in the group `peers` the networks."""

import importlib.util
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.weights import mimicry, sngan_projection
from sngan_jax.weights.trained import restored
from tests.weights import chainer_networks


def named_as_in_pytorch(arrays):
    """sngan_projection's arrays under mimicry's names, with the v that PyTorch keeps."""
    found = {}
    for name, array in arrays.items():
        *path, last = name.split("/")
        prefix = "model_state_dict." + ".".join(path)
        normalized = "/".join([*path, "u"]) in arrays
        match last:
            case "W" if path[-1] == "gammas":
                both = np.concatenate([array, arrays[name.replace("gammas", "betas")]], axis=1)
                found[prefix.removesuffix("gammas") + "embed.weight"] = both
            case "W" if path[-1] != "betas":
                found[f"{prefix}.weight{'_orig' if normalized else ''}"] = array
            case "b":
                found[f"{prefix}.bias"] = array
            case "u":
                weight = arrays["/".join([*path, "W"])]
                v = array[0] @ weight.reshape(len(weight), -1)
                v /= np.linalg.norm(v)
                u = weight.reshape(len(weight), -1) @ v
                found |= {f"{prefix}.weight_v": v, f"{prefix}.weight_u": u / np.linalg.norm(u)}
            case "gamma" | "beta" | "avg_mean" | "avg_var":
                inner = ".bn" if "/".join([*path, "gammas/W"]) in arrays else ""
                ours = {"gamma": "weight", "beta": "bias", "avg_mean": "running_mean",
                        "avg_var": "running_var"}[last]
                found[f"{prefix}{inner}.{ours}"] = array
                found[f"{prefix}{inner}.num_batches_tracked"] = np.array(7)
    return found | {"optimizer_state_dict.state.0.exp_avg": np.zeros(3, np.float32)}


@pytest.mark.parametrize("classes", [0, 3])
def test_the_arrays_are_those_of_the_same_network_of_the_authors(tmp_path, classes):
    g = chainer_networks.generator(0, classes=classes)
    d = chainer_networks.discriminator(1, classes=classes)
    files = [tmp_path / "netG_1000_steps.pth", tmp_path / "netD_1000_steps.pth"]
    found = sngan_projection.convert(
        [(file, mimicry.renamed(named_as_in_pytorch(arrays), file))
         for file, arrays in zip(files, (g, d), strict=True)], mimicry.FIELDS, "mimicry")
    want = sngan_projection.convert(zip(files, (g, d), strict=True), {}, "the authors")
    assert found.iteration == 1000 and found.num_classes == classes
    assert found.arrays.keys() == want.arrays.keys()
    for name, array in found.arrays.items():
        np.testing.assert_allclose(array, want.arrays[name], atol=1e-6, err_msg=name)
    config = restored(found, "it").config
    assert config.shortcut_relu and config.upsampling == "bilinear"


def test_a_file_without_arrays(tmp_path):
    with pytest.raises(UserError, match=r"netG.pth holds no arrays"):
        mimicry.renamed({}, tmp_path / "netG.pth")
    with pytest.raises(UserError, match="neither a generator nor a discriminator of mimicry"):
        sngan_projection.convert([(tmp_path / "a.pth", mimicry.renamed(
            {"fc.weight": np.zeros((2, 2), np.float32)}, tmp_path))], {}, "mimicry")


def networks(name):
    """mimicry's G and D, narrow, with statistics and vectors of a few forward passes."""
    import torch

    if "torch_mimicry" not in sys.modules:  # its own __init__ imports TensorFlow and data sets
        spec = importlib.util.find_spec("torch_mimicry")
        sys.modules["torch_mimicry"] = importlib.util.module_from_spec(spec)
    from torch_mimicry.nets import sngan
    from torch_mimicry.nets.cgan_pd import cgan_pd_32, cgan_pd_128

    torch.manual_seed(0)
    kind, size = name.split("_")
    module, prefix, given = {
        "sngan": (sngan, "SNGAN", {}), "cgan": (cgan_pd_32 if size == "32" else cgan_pd_128,
                                                "CGANPD", {"num_classes": 5})}[kind]
    width = 8 if size == "32" else 64
    g = getattr(module, f"{prefix}Generator{size}")(ngf=width, **given)
    d = getattr(module, f"{prefix}Discriminator{size}")(ndf=width, **given)
    z = torch.randn(6, 128)
    labels = (torch.randint(0, 5, (6,)),) if given else ()
    with torch.no_grad():
        for parameter in [*g.parameters(), *d.parameters()]:
            if parameter.ndim == 1:  # biases and scales are zeros and ones as they are made
                parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(3):
            g(torch.randn(6, 128), *labels)
        g.eval()
        # Near the end of the power iteration, so that half a step, or one, is less than rounding.
        for _ in range(100):
            d(g(z[:1], *(y[:1] for y in labels)), *(y[:1] for y in labels))
    return g, d, z, labels


@pytest.mark.peers
@pytest.mark.parametrize("name", ["sngan_32", "sngan_48", "sngan_64", "sngan_128", "cgan_32",
                                  "cgan_128"])
def test_the_networks_are_mimicrys(tmp_path, name):
    import torch

    g, d, z, labels = networks(name)
    files = []
    for network, file in ((g, "netG_7_steps.pth"), (d, "netD_7_steps.pth")):
        network.save_checkpoint(str(tmp_path), 7, torch.optim.Adam(network.parameters()), file)
        files.append(tmp_path / file)
    run = restored(mimicry.read(files), "the files")
    assert run.iteration == 7 and run.config.image_size == int(name.split("_")[1])
    y = jnp.asarray(labels[0].numpy()) if labels else None

    with torch.no_grad():
        images = g(z, *labels)
    ours = run.generator.apply(run.state.generator.variables, jnp.asarray(z.numpy()), y)
    np.testing.assert_allclose(np.moveaxis(ours, 3, 1), images.numpy(), atol=2e-5)

    x = jnp.asarray(np.moveaxis(images.numpy(), 1, 3))
    variables = run.state.discriminator.variables
    atol = 5e-5 if labels else 1e-5

    def same(logits, theirs):
        theirs = theirs[:, 0].numpy()
        np.testing.assert_allclose(logits, theirs, rtol=0, atol=atol)

    with torch.no_grad():
        d.eval()
        same(run.discriminator.apply(variables, x, y), d(images.clone(), *labels))
        d.train()
        for _ in range(3):
            theirs = d(images.clone(), *labels)
            logits, new = run.discriminator.apply(variables, x, y, mutable=["spectral"])
            variables = {**variables, **new}
        same(logits, theirs)

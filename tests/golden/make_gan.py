#!/usr/bin/python3
"""Makes gan.safetensors: the layers and networks of SAGAN, YLG and HamGAN, with PyTorch.

    tests/golden/make_gan.py            writes the file
    tests/golden/make_gan.py --check    makes it again in memory and compares, as make_layers.py

Entries as in make_layers.py. Spectral normalisation is torch.nn.utils.spectral_norm. The attentions and the networks
follow the authors' programs line by line (github.com/giannisdaras/ylg, ylg/ops.py, generator.py; its discriminator is
that of tensorflow-gan), with images as [N, C, H, W]. YLG's masks are made by the authors' own masks.py, whose path is in
the environment, YLG_MASKS=.../ylg/masks.py; without it those in the file are taken as they are.
"""

import importlib.util
import os
import sys
import types

import numpy as np
import torch
import torch.nn.functional as F
from make_layers import HERE, Draw, read_safetensors, write_fixture
from torch import nn
from torch.nn.utils import spectral_norm

KINDS = ("RightFloorMask", "RightRepetitiveMask", "LeftFloorMask", "LeftRepetitiveMask")
GRIDS = {"square": ((8, 8), (4, 4)), "wide": ((6, 8), (3, 4)), "same": ((4, 5), (4, 5)), "full": ((32, 32), (16, 16))}


def mask_entries():
    """masks/GRID/KIND: 1 where a query (row) sees a key; of the full grid, of each row the number of keys, the sum of
    their places and the sum of the squares of their places."""
    if "YLG_MASKS" not in os.environ:
        tensors, _ = read_safetensors((HERE / "gan.safetensors").read_bytes())
        return {key: torch.tensor(values, dtype=torch.float64).reshape(shape)
                for key, (_, shape, values) in tensors.items() if key.startswith("masks/")}
    sys.modules["tensorflow"] = types.ModuleType("tensorflow")  # which the masks used here do not need
    spec = importlib.util.spec_from_file_location("masks", os.environ["YLG_MASKS"])
    masks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(masks)
    result = {}
    for grid, (queries, keys) in GRIDS.items():
        for kind in KINDS:
            mask = getattr(masks, kind).get_grid_mask_from_1d(keys, nO=queries).astype(np.float64)
            if grid == "full":
                places = np.arange(mask.shape[1], dtype=np.float64)
                mask = mask @ np.stack([places**0, places, places**2], 1)
            result[f"masks/{grid}/{kind}"] = torch.tensor(mask)
    return result


MASKS = mask_entries()


def maybe_normalised(wanted, layer):
    return spectral_norm(layer) if wanted else layer


class Attention(nn.Module):
    """sn_non_local_block_sim; with heads sn_attention_block_sim."""

    def __init__(self, channels, normalised, grid=None):
        super().__init__()
        conv = lambda i, o: maybe_normalised(normalised, nn.Conv2d(i, o, 1, bias=False))
        self.theta, self.phi = conv(channels, channels // 8), conv(channels, channels // 8)
        self.g, self.o = conv(channels, channels // 2), conv(channels // 2, channels)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.grid = grid

    def forward(self, x):
        n, c, h, w = x.shape
        heads = 8 if self.grid else 1
        split = lambda y: y.reshape(n, heads, y.shape[1] // heads, -1).transpose(2, 3)  # [N, heads, pixels, size]
        theta = split(self.theta(x))
        phi, g = split(F.max_pool2d(self.phi(x), 2)), split(F.max_pool2d(self.g(x), 2))
        attn = theta @ phi.transpose(2, 3)
        if self.grid:
            rf, rr, lf, lr = (MASKS[f"masks/{self.grid}/{kind}"] for kind in KINDS)
            attn = attn + (1.0 - torch.stack([rf, rr, rf, rr, lf, lr, lf, lr])) * -1000.0
        y = torch.softmax(attn, -1) @ g
        y = y.permute(0, 3, 1, 2).reshape(n, c // 2, h, w)  # heads last
        return x + self.gamma * self.o(y)


class ConditionalNorm(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gamma, self.beta = nn.Embedding(classes, channels), nn.Embedding(classes, channels)

    def forward(self, x, labels):
        return self.gamma(labels)[:, :, None, None] * self.norm(x) + self.beta(labels)[:, :, None, None]


class Film(nn.Module):
    def forward(self, x, gamma, beta):
        return gamma[:, :, None] * x + beta[:, :, None]


def conv(i, o, kernel):
    return spectral_norm(nn.Conv2d(i, o, kernel, padding=kernel // 2))


class GeneratorBlock(nn.Module):
    def __init__(self, i, o, classes):
        super().__init__()
        self.norm1, self.norm2 = ConditionalNorm(i, classes), ConditionalNorm(o, classes)
        self.conv1, self.conv2, self.shortcut = conv(i, o, 3), conv(o, o, 3), conv(i, o, 1)

    def forward(self, x, labels):
        up = lambda y: F.interpolate(y, scale_factor=2)
        y = self.conv1(up(F.relu(self.norm1(x, labels))))
        y = self.conv2(F.relu(self.norm2(y, labels)))
        return self.shortcut(up(x)) + y


class Generator(nn.Module):
    """Of 32 x 32."""

    def __init__(self, latent, width, channels, classes):
        super().__init__()
        self.linear = spectral_norm(nn.Linear(latent, 4 * width * 16))
        self.block1 = GeneratorBlock(4 * width, 4 * width, classes)
        self.block2 = GeneratorBlock(4 * width, 2 * width, classes)
        self.block3 = GeneratorBlock(2 * width, width, classes)
        self.context = Attention(width, True)
        self.norm = nn.BatchNorm2d(width)
        self.last = conv(width, channels, 3)

    def forward(self, z, labels):
        x = self.linear(z).reshape(len(z), -1, 4, 4)
        for block in (self.block1, self.block2, self.block3):
            x = block(x, labels)
        return torch.tanh(self.last(F.relu(self.norm(self.context(x)))))


class DiscriminatorBlock(nn.Module):
    def __init__(self, i, o, first=False, halves=True):
        super().__init__()
        self.first, self.halves = first, halves
        self.conv1, self.conv2 = conv(i, o, 3), conv(o, o, 3)
        self.shortcut = conv(i, o, 1) if halves or i != o else None

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        x = self.shortcut(x) if self.shortcut else x
        return F.avg_pool2d(x, 2) + F.avg_pool2d(y, 2) if self.halves else x + y


class Discriminator(nn.Module):
    """Of 64 x 64."""

    def __init__(self, width, channels, classes):
        super().__init__()
        self.block1 = DiscriminatorBlock(channels, width, first=True)
        self.block2 = DiscriminatorBlock(width, 2 * width)
        self.block3 = DiscriminatorBlock(2 * width, 4 * width)
        self.block4 = DiscriminatorBlock(4 * width, 8 * width)
        self.block5 = DiscriminatorBlock(8 * width, 8 * width, halves=False)
        self.linear = spectral_norm(nn.Linear(8 * width, 1))
        self.embedding = spectral_norm(nn.Embedding(classes, 8 * width))

    def forward(self, x, labels):
        for block in (self.block1, self.block2, self.block3, self.block4, self.block5):
            x = block(x)
        h = F.relu(x).sum((2, 3))
        return self.linear(h) + (h * self.embedding(labels)).sum(1, keepdim=True)


def with_labels(f, case, module, shape, labels):
    """A layer of x and labels."""
    draw = Draw(case)
    f.name(case, type(module).__name__)
    x = draw.normal(shape)
    draw.fill(module)
    f.add(case, x=x, labels=labels, **{f"state.{key}": value for key, value in module.state_dict().items()})
    x = x.clone().requires_grad_()
    y = module.train()(x, labels)
    dy = draw.normal(tuple(y.shape))
    y.backward(dy)
    f.add(case, y=y, dy=dy, dx=x.grad)
    f.add(case, **{f"grad.{key}": value.grad for key, value in module.named_parameters()})
    f.add(case, **{f"after.{key}": value for key, value in module.named_buffers()})
    with torch.no_grad():
        f.add(case, infer=module.eval()(x, labels))


def embedding(f, case):
    draw = Draw(case)
    layer, ids = nn.Embedding(4, 5), draw.labels((2, 3), 4)
    layer = spectral_norm(layer)
    f.name(case, str(layer))
    draw.fill(layer)
    f.add(case, ids=ids, **{f"state.{key}": value for key, value in layer.state_dict().items()})
    y = layer(ids)
    dy = draw.normal(tuple(y.shape))
    y.backward(dy)
    f.add(case, y=y, dy=dy, **{"grad.weight_orig": layer.weight_orig.grad, "after.weight_u": layer.weight_u})


def film(f, case):
    draw = Draw(case)
    f.name(case, "gamma x + beta")
    x, gamma, beta = (draw.normal(shape).requires_grad_() for shape in ((2, 3, 37), (2, 3), (2, 3)))
    y = Film()(x, gamma, beta)
    dy = draw.normal(tuple(y.shape))
    y.backward(dy)
    f.add(case, x=x, gamma=gamma, beta=beta, y=y, dy=dy, dx=x.grad, dgamma=gamma.grad, dbeta=beta.grad)


def real_hinge(x, target):
    return F.relu(1 - x).mean()


def fake_hinge(x, target):
    return F.relu(1 + x).mean()


def generator_hinge(x, target):
    return -x.mean()


def cases(f):
    for key, value in MASKS.items():
        f.tensors[key] = value
    f.name("masks", "the authors' masks.py")
    f.layer("spectral_norm/conv", spectral_norm(nn.Conv2d(2, 3, (2, 3), 2, 1)), (2, 2, 5, 4))
    f.layer("spectral_norm/groups", spectral_norm(nn.Conv2d(4, 6, 3, groups=2, bias=False)), (2, 4, 5, 4))
    f.layer("spectral_norm/linear", spectral_norm(nn.Linear(5, 4)), (3, 5))
    f.layer("spectral_norm/iterations", spectral_norm(nn.Linear(5, 4), n_power_iterations=3), (3, 5))
    f.layer("spectral_norm/transposed", spectral_norm(nn.ConvTranspose2d(3, 2, (2, 3), 2)), (2, 3, 3, 2))
    embedding(f, "spectral_norm/embedding")
    film(f, "film")
    with_labels(f, "conditional_norm", ConditionalNorm(3, 4), (5, 3, 2, 3), torch.tensor([3, 0, 0, 2, 3]))
    f.layer("sagan_attention", Attention(16, True), (2, 16, 6, 4))
    f.layer("sagan_attention/plain", Attention(8, False), (1, 8, 2, 4))
    f.layer("ylg_attention", Attention(64, True, "square"), (2, 64, 8, 8))
    f.layer("ylg_attention/plain", Attention(64, False, "wide"), (1, 64, 6, 8))
    with_labels(f, "generator", Generator(3, 8, 1, 2), (2, 3), torch.tensor([1, 0]))
    with_labels(f, "discriminator", Discriminator(2, 2, 3), (2, 2, 64, 64), torch.tensor([2, 0]))
    for function in (real_hinge, fake_hinge, generator_hinge):
        f.loss(function.__name__, function, (5, 3), torch.zeros(0, dtype=torch.float64))


if __name__ == "__main__":
    sys.exit(write_fixture("gan", __doc__, cases))

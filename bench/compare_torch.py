#!/usr/bin/python3
"""Times Lamina against PyTorch on the same work, in alternation, and prints a table of ratios.

Each round times one side, then the other, so that both see the same machine; a figure is the mean over a fifth of a
second (--seconds) of repetitions after a warm-up, and the table has the smallest of the rounds: what the machine does
when nothing else disturbs it. Ratio: PyTorch's milliseconds divided by Lamina's; above 1, Lamina is faster. GFLOP/s
counts the arithmetic of the definition, so Winograd's convolution may exceed the multiply-add limit of the cores, of
which it is also given as a share.

  infer   PyTorch: inference_mode() on a module in eval()
  train   a layer: zeroed gradients, forward, sum, backward with the gradient of the input
          a network: zeroed gradients, forward, cross entropy, backward, a step of plain SGD

With --memory, each side runs each benchmark alone in a process of its own, and the table has the peak of its resident
memory in megabytes.

PyTorch's matrix products are OpenBLAS's: Debian's packages run with whatever libblas.so.3 is, by default a plain one, some
twenty times slower, and a ratio against that says nothing. So this looks for OpenBLAS and gives it to PyTorch's side, and
ends if there is none, or if a product of matrices shows that it is not what runs.

Needs python3-torch, python3-torchvision and libopenblas0-pthread, and the benchmark programs: cmake --workflow --preset
release builds them.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

# As in bench_layers.cpp: the input (N, C, H, W), output channels, kernel, stride, padding, groups.
CONVOLUTIONS = {
    "conv/resnet_stem": (1, 3, 224, 224, 64, 7, 2, 3, 1),
    "conv/3x3_64_56": (1, 64, 56, 56, 64, 3, 1, 1, 1),
    "conv/3x3_128_28": (1, 128, 28, 28, 128, 3, 1, 1, 1),
    "conv/3x3_256_14": (1, 256, 14, 14, 256, 3, 1, 1, 1),
    "conv/3x3_512_7": (1, 512, 7, 7, 512, 3, 1, 1, 1),
    "conv/3x3_s2_128_56": (1, 128, 56, 56, 128, 3, 2, 1, 1),
    "conv/1x1_64_256_56": (1, 64, 56, 56, 256, 1, 1, 0, 1),
    "conv/1x1_1024_256_14": (1, 1024, 14, 14, 256, 1, 1, 0, 1),
    "conv/1x1_512_512_128": (1, 512, 128, 128, 512, 1, 1, 0, 1),
    "conv/vgg_64_224": (1, 64, 224, 224, 64, 3, 1, 1, 1),
    "conv/alexnet_11x11": (1, 3, 224, 224, 96, 11, 4, 1, 1),
    "conv/alexnet_5x5": (1, 96, 27, 27, 256, 5, 1, 2, 1),
    "conv/grouped_32_56": (1, 128, 56, 56, 128, 3, 1, 1, 32),
    "conv/depthwise_32_112": (1, 32, 112, 112, 32, 3, 1, 1, 32),
    "conv/depthwise_512_14": (1, 512, 14, 14, 512, 3, 1, 1, 512),
    "conv/depthwise_s2_128_56": (1, 128, 56, 56, 128, 3, 2, 1, 128),
    "conv/pixelcnn_b8": (8, 128, 28, 28, 128, 3, 1, 1, 1),
    "conv/lenet1_b256": (256, 1, 28, 28, 6, 5, 1, 2, 1),
    "conv/lenet2_b256": (256, 6, 14, 14, 16, 5, 1, 0, 1),
    "conv/3x3_64_56_b8": (8, 64, 56, 56, 64, 3, 1, 1, 1),
    "conv/3x3_256_14_b8": (8, 256, 14, 14, 256, 3, 1, 1, 1),
    "conv/1x1_64_256_56_b8": (8, 64, 56, 56, 256, 1, 1, 0, 1),
}
# Where Debian's OpenBLAS has its libblas.so.3.
OPENBLAS = sorted(pathlib.Path("/usr/lib").glob("*-linux-gnu*/openblas-pthread/libblas.so.3"))
PROGRAMS = ("bench_models", "bench_layers", "bench_hamburger", "bench_gan")


NETWORKS = ("alexnet", "vgg11", "googlenet", "resnet18", "resnet50", "densenet121", "mobilenet_v2", "mobilenet_v3_large")


def hamburger(kind, c):
    """Hamburger V1 as in the listing of Geng et al. 2021, with the one-step gradient."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Ham(nn.Module):
        def forward(self, x):
            x, (b, d, *size) = x.flatten(2), x.shape
            with torch.no_grad():
                bases = F.normalize((torch.rand if kind == "nmf" else torch.randn)(b, d, 64), dim=1)
                coef = F.softmax((1 if kind == "nmf" else 100) * x.transpose(1, 2).bmm(bases), dim=-1)
                for _ in range(6 if self.training else 7):
                    bases, coef = self.step(x, bases, coef)
            return bases.bmm(self.coef(x, bases, coef).transpose(1, 2)).view(b, d, *size)

        def step(self, x, bases, coef):
            if kind == "nmf":
                coef = self.coef(x, bases, coef)
                return bases * x.bmm(coef) / (bases.bmm(coef.transpose(1, 2).bmm(coef)) + 1e-6), coef
            std_bases = F.normalize(bases, dim=1, eps=1e-6) if kind == "vq" else bases
            coef = F.softmax(100 * F.normalize(x, dim=1).transpose(1, 2).bmm(std_bases), dim=-1)
            bases = x.bmm(coef / (1e-6 + coef.sum(dim=1, keepdim=True)))
            return (F.normalize(bases, dim=1, eps=1e-6) if kind == "cd" else bases), coef

        def coef(self, x, bases, coef):
            if kind == "nmf":
                return coef * x.transpose(1, 2).bmm(bases) / (coef.bmm(bases.transpose(1, 2).bmm(bases)) + 1e-6)
            if kind == "cd":
                ridge = bases.transpose(1, 2).bmm(bases) + 0.1 * torch.eye(64).repeat(len(x), 1, 1)
                return x.transpose(1, 2).bmm(bases).bmm(torch.inverse(ridge))
            std_x = x / (1e-6 + x.detach().norm(dim=1, keepdim=True))
            return F.softmax(100 * std_x.transpose(1, 2).bmm(F.normalize(bases, dim=1, eps=1e-6)), dim=-1)

    class Hamburger(nn.Module):
        def __init__(self):
            super().__init__()
            self.lower_bread = nn.Sequential(nn.Conv2d(c, c, 1), *[nn.ReLU(inplace=True)] * (kind == "nmf"))
            self.ham = Ham()
            self.upper_bread = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c, momentum=3e-4))

        def forward(self, x):
            return F.relu(self.upper_bread(self.ham(self.lower_bread(x))) + x, inplace=True)

    return Hamburger()


HAMBURGERS = {"ham/512x128x128": ("nmf", 128), "ham/512x64x64": ("nmf", 64), "ham/vq_512x128x128": ("vq", 128),
              "ham/cd_512x128x128": ("cd", 128)}


def computed(function):
    """A function of the input as a module."""
    from torch import nn

    class Computed(nn.Module):
        def forward(self, x):
            return function(x)

    return Computed()


def gated(activation):
    """The first half of the channels times an activation of the second."""
    import torch.nn.functional as F

    def product(x):
        a, b = x.chunk(2, 1)
        return a * getattr(F, activation)(b)

    return computed(product)


def rms_norm(features):
    """As torch.nn.RMSNorm, which PyTorch 1.13 lacks."""
    import torch
    from torch import nn

    class RMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(features))

        def forward(self, x):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight

    return RMSNorm()


def stochastic_depth(p):
    from torchvision.ops import StochasticDepth

    return StochasticDepth(p, "row")


def context(kind, c):
    """The modules of lamina/nn/context/context.hpp: self-attention, DANet's dual attention, A2-Net's double attention,
    APCNet's, DMNet's and CFNet's."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    def pixels(q, k, v, scale):
        weights = torch.softmax(scale * q.flatten(2).transpose(1, 2) @ k.flatten(2), dim=-1)
        return (v.flatten(2) @ weights.transpose(1, 2)).view_as(v)

    def gather_distribute(a, b, v):
        features = a.flatten(2) @ torch.softmax(b.flatten(2), dim=-1).transpose(1, 2)
        return (features @ torch.softmax(v.flatten(2), dim=1)).view_as(a)

    class Burger(nn.Module):
        def __init__(self):
            super().__init__()
            self.lower = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(3))
            self.out = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c, momentum=3e-4))

        def forward(self, x):
            lower = [layer(x) for layer in self.lower]
            y = pixels(*lower, c**-0.5) if kind == "self" else gather_distribute(*lower)
            return F.relu(self.out(y) + x, inplace=True)

    class Dual(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Conv2d(c, n, 1) for n in (c // 8, c // 8, c))
            self.gamma = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(2))
            self.conv = nn.ModuleList(
                nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(inplace=True))
                for _ in range(2))

        def forward(self, x):
            flat = x.flatten(2)
            energy = flat @ flat.transpose(1, 2)
            energy = energy.max(dim=-1, keepdim=True)[0] - energy
            channels = (torch.softmax(energy, dim=-1) @ flat).view_as(x)
            return (self.conv[0](self.gamma[0] * pixels(self.q(x), self.k(x), self.v(x), 1) + x) +
                    self.conv[1](self.gamma[1] * channels + x))

    def pointwise(a, b):
        return nn.Sequential(nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))

    class Adaptive(nn.Module):
        def __init__(self, scale, m):
            super().__init__()
            self.scale, self.gla = scale, nn.Conv2d(m, scale**2, 1)
            self.pooled, self.input = pointwise(c, m), pointwise(c, m)
            self.all, self.residual, self.fusion = (pointwise(m, m) for _ in range(3))

        def forward(self, x):
            regions = self.pooled(F.adaptive_avg_pool2d(x, self.scale)).flatten(2)
            h = self.input(x)
            weights = torch.sigmoid(self.gla(h + self.all(F.adaptive_avg_pool2d(h, 1)))).flatten(2)
            return self.fusion(F.relu(self.residual((regions @ weights).view_as(h)) + h))

    class Dynamic(nn.Module):
        def __init__(self, size, m):
            super().__init__()
            self.size, self.filters, self.norm = size, nn.Conv2d(c, m, 1), nn.BatchNorm2d(m)
            self.input, self.fusion = pointwise(c, m), pointwise(m, m)

        def forward(self, x):
            filters = self.filters(F.adaptive_avg_pool2d(x, self.size)).flatten(0, 1).unsqueeze(1)
            h = self.input(x)
            y = F.conv2d(h.flatten(0, 1).unsqueeze(0), filters, padding=self.size // 2, groups=len(filters)).view_as(h)
            return self.fusion(F.relu(self.norm(y)))

    class Pyramid(nn.Module):
        def __init__(self, parts):
            super().__init__()
            self.parts = nn.ModuleList(parts)

        def forward(self, x):
            return torch.cat([x] + [part(x) for part in self.parts], dim=1)

    class CoOccurrence(nn.Module):
        def __init__(self, heads=8):
            super().__init__()
            self.heads, self.pool = heads, nn.AvgPool2d(3, 2, 1, count_include_pad=False)
            self.q, self.v = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
            self.out = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c))
            self.dropout = nn.Dropout(0.1)

        def forward(self, x):
            pooled, d = self.pool(x), c // self.heads
            q, k, v = (t.flatten(2).view(-1, d, t[0, 0].numel()) for t in (self.q(x), self.q(pooled), self.v(pooled)))
            weights = self.dropout(torch.softmax(q.transpose(1, 2) @ k / d**0.5, dim=-1))
            return self.out((v @ weights.transpose(1, 2)).reshape(x.shape)) + x

    if kind == "apc":
        return Pyramid(Adaptive(scale, c // 2) for scale in (1, 2, 3, 6))
    if kind == "dm":
        return Pyramid(Dynamic(size, c) for size in (1, 3, 5, 7))
    if kind == "acf":
        return CoOccurrence()
    return Dual() if kind == "dual" else Burger()


def segnext():
    """SegNeXt-T as in its authors' program, for ADE20K; the bases are drawn, and in training all steps differentiated."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Attention(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.conv0, self.conv3 = nn.Conv2d(c, c, 5, padding=2, groups=c), nn.Conv2d(c, c, 1)
            self.strips = nn.ModuleList(
                nn.Sequential(nn.Conv2d(c, c, (1, k), padding=(0, k // 2), groups=c),
                              nn.Conv2d(c, c, (k, 1), padding=(k // 2, 0), groups=c)) for k in (7, 11, 21))

        def forward(self, x):
            a = self.conv0(x)
            return self.conv3(a + self.strips[0](a) + self.strips[1](a) + self.strips[2](a)) * x

    class Block(nn.Module):
        def __init__(self, c, ratio):
            super().__init__()
            self.norm1, self.norm2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)
            self.attention = nn.Sequential(nn.Conv2d(c, c, 1), nn.GELU(), Attention(c), nn.Conv2d(c, c, 1))
            self.mlp = nn.Sequential(nn.Conv2d(c, ratio * c, 1), nn.Conv2d(ratio * c, ratio * c, 3, padding=1, groups=ratio * c),
                                     nn.GELU(), nn.Conv2d(ratio * c, c, 1))
            self.scale1, self.scale2 = (nn.Parameter(torch.full((c, 1, 1), 1e-2)) for _ in range(2))

        def forward(self, x):
            n = self.norm1(x)
            x = x + self.scale1 * (self.attention(n) + n)
            return x + self.scale2 * self.mlp(self.norm2(x))

    class Stage(nn.Module):
        def __init__(self, embed, c, ratio, depth):
            super().__init__()
            self.embed, self.blocks = embed, nn.Sequential(*[Block(c, ratio) for _ in range(depth)])
            self.norm = nn.LayerNorm(c)

        def forward(self, x):
            return self.norm(self.blocks(self.embed(x)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()

    class SegNeXt(nn.Module):
        def __init__(self):
            super().__init__()
            dims = (32, 64, 160, 256)
            self.stages = nn.ModuleList()
            for i, (c, ratio, depth) in enumerate(zip(dims, (8, 8, 4, 4), (3, 3, 5, 2))):
                embed = nn.Sequential(nn.Conv2d(3, c // 2, 3, 2, 1), nn.BatchNorm2d(c // 2), nn.GELU(),
                                      nn.Conv2d(c // 2, c, 3, 2, 1), nn.BatchNorm2d(c)) if i == 0 else nn.Sequential(
                                          nn.Conv2d(dims[i - 1], c, 3, 2, 1), nn.BatchNorm2d(c))
                self.stages.append(Stage(embed, c, ratio, depth))
            conv = lambda a: nn.Sequential(nn.Conv2d(a, 256, 1, bias=False), nn.GroupNorm(32, 256))
            self.squeeze, self.ham_in, self.ham_out, self.align = conv(480), nn.Conv2d(256, 256, 1), conv(256), conv(256)
            self.classify = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(256, 150, 1))

        def ham(self, x):
            x, shape = x.flatten(2), x.shape
            bases = F.normalize(torch.rand(len(x), 256, 16), dim=1)
            coef = F.softmax(x.transpose(1, 2).bmm(bases), dim=-1)

            def update():
                return coef * x.transpose(1, 2).bmm(bases) / (coef.bmm(bases.transpose(1, 2).bmm(bases)) + 1e-6)

            for _ in range(6 if self.training else 7):
                coef = update()
                bases = bases * x.bmm(coef) / (bases.bmm(coef.transpose(1, 2).bmm(coef)) + 1e-6)
            return bases.bmm(update().transpose(1, 2)).view(shape)

        def forward(self, image):
            x, levels = image, []
            for stage in self.stages:
                levels.append(x := stage(x))
            size = levels[1].shape[2:]
            x = F.relu(self.squeeze(torch.cat(
                [F.interpolate(level, size, mode="bilinear", align_corners=False) for level in levels[1:]], dim=1)))
            x = F.relu(x + self.ham_out(self.ham(F.relu(self.ham_in(x)))))
            logits = self.classify(F.relu(self.align(x)))
            return F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)

    return SegNeXt()


def gan_context(kind, c):
    """SAGAN's and YLG's attention and HamGAN's Hamburger, as in the authors' programs; YLG's masks are dense there."""
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.nn.utils import spectral_norm

    conv = lambda i, o: spectral_norm(nn.Conv2d(i, o, 1, bias=False))

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta, self.phi, self.g, self.o = conv(c, c // 8), conv(c, c // 8), conv(c, c // 2), conv(c // 2, c)
            self.gamma, self.heads = nn.Parameter(torch.zeros(1)), 8 if kind == "ylg" else 1
            if kind == "ylg":
                self.register_buffer("adder", -1000.0 * (torch.rand(8, 1024, 256) > 0.05))

        def forward(self, x):
            n, _, h, w = x.shape
            split = lambda y: y.reshape(n, self.heads, y.shape[1] // self.heads, -1).transpose(2, 3)
            theta, phi, g = split(self.theta(x)), split(F.max_pool2d(self.phi(x), 2)), split(F.max_pool2d(self.g(x), 2))
            weights = theta @ phi.transpose(2, 3)
            y = torch.softmax(weights + self.adder if kind == "ylg" else weights, -1) @ g
            return x + self.gamma * self.o(y.permute(0, 3, 1, 2).reshape(n, c // 2, h, w))

    class Hamburger(nn.Module):
        def __init__(self):
            super().__init__()
            self.lower, self.upper, self.gamma = conv(c, c), conv(c, c), nn.Parameter(torch.zeros(1))

        def forward(self, x):
            y = F.relu(self.lower(x)).flatten(2)
            update = lambda: coef * y.transpose(1, 2).bmm(bases) / (coef.bmm(bases.transpose(1, 2).bmm(bases)) + 1e-6)
            with torch.no_grad():
                bases = F.normalize(torch.rand(len(x), c, c // 8), dim=1)
                coef = F.softmax(y.transpose(1, 2).bmm(bases), dim=-1)
                for _ in range(6):
                    coef = update()
                    bases = bases * y.bmm(coef) / (bases.bmm(coef.transpose(1, 2).bmm(coef)) + 1e-6)
            return x + self.gamma * self.upper(bases.bmm(update().transpose(1, 2)).view_as(x))

    return Hamburger() if kind == "hamburger" else Attention()


def gan_step(kind, width=32, batch=2, classes=10, latent=128):
    """An iteration of adversarial training on images of 128 x 128, as bench_gan.cpp's."""
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.nn.utils import spectral_norm

    def conv(i, o, kernel):
        return spectral_norm(nn.Conv2d(i, o, kernel, padding=kernel // 2))

    def context(c):
        return nn.Identity() if kind == "none" else gan_context(kind, c)

    class Norm(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.norm = nn.BatchNorm2d(c, affine=False)
            self.gamma, self.beta = nn.Embedding(classes, c), nn.Embedding(classes, c)

        def forward(self, x, labels):
            return self.gamma(labels)[:, :, None, None] * self.norm(x) + self.beta(labels)[:, :, None, None]

    class Up(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.norm1, self.norm2 = Norm(i), Norm(o)
            self.conv1, self.conv2, self.shortcut = conv(i, o, 3), conv(o, o, 3), conv(i, o, 1)

        def forward(self, x, labels):
            y = self.conv1(F.interpolate(F.relu(self.norm1(x, labels)), scale_factor=2))
            y = self.conv2(F.relu(self.norm2(y, labels)))
            return y + F.interpolate(self.shortcut(x), scale_factor=2)

    class Down(nn.Module):
        def __init__(self, i, o, first=False, halves=True):
            super().__init__()
            self.first, self.halves, self.conv1, self.conv2 = first, halves, conv(i, o, 3), conv(o, o, 3)
            self.shortcut = conv(i, o, 1) if halves or i != o else nn.Identity()

        def forward(self, x):
            y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
            pool = (lambda t: F.avg_pool2d(t, 2)) if self.halves else (lambda t: t)
            return pool(y) + self.shortcut(pool(x))

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            w = [16 * width, 16 * width, 8 * width, 4 * width, 2 * width, width]
            self.linear = spectral_norm(nn.Linear(latent, 16 * w[0]))
            self.blocks = nn.ModuleList(Up(a, b) for a, b in zip(w, w[1:]))
            self.context, self.norm, self.last = context(w[3]), nn.BatchNorm2d(width), conv(width, 3, 3)

        def forward(self, z, labels):
            x = self.linear(z).view(len(z), -1, 4, 4)
            for i, block in enumerate(self.blocks):
                x = block(x, labels)
                x = self.context(x) if i == 2 else x
            return torch.tanh(self.last(F.relu(self.norm(x))))

    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            w = [width * 2**i for i in range(5)]
            self.blocks = nn.ModuleList([Down(3, w[0], first=True), *(Down(a, b) for a, b in zip(w, w[1:])),
                                         Down(w[-1], w[-1], halves=False)])
            self.context = context(w[1])
            self.linear = spectral_norm(nn.Linear(w[-1], 1))
            self.embedding = spectral_norm(nn.Embedding(classes, w[-1]))

        def forward(self, x, labels):
            for i, block in enumerate(self.blocks):
                x = block(x)
                x = self.context(x) if i == 1 else x
            h = F.relu(x).sum((2, 3))
            return self.linear(h) + (h * self.embedding(labels)).sum(1, keepdim=True)

    generator, discriminator = Generator(), Discriminator()
    optimizers = [torch.optim.Adam(net.parameters(), lr, (0, 0.9)) for net, lr in ((generator, 1e-4), (discriminator, 4e-4))]
    z, real, labels = torch.randn(batch, latent), torch.rand(batch, 3, 128, 128) * 2 - 1, torch.tensor([3, 7])

    def train():
        with torch.no_grad():
            fake = generator(z, labels)
        optimizers[1].zero_grad()
        (F.relu(1 - discriminator(real, labels)).mean() + F.relu(1 + discriminator(fake, labels)).mean()).backward()
        optimizers[1].step()
        for parameter in discriminator.parameters():
            parameter.requires_grad_(False)
        optimizers[0].zero_grad()
        (-discriminator(generator(z, labels), labels).mean()).backward()
        optimizers[0].step()
        for parameter in discriminator.parameters():
            parameter.requires_grad_(True)
    return train


INVOLUTIONS = {"involution/32x16x64x64_k5": ((32, 16, 64, 64), 5, 1, 2),  # input, kernel, groups, reduction
               "involution/1x256x56x56_k7_g16": ((1, 256, 56, 56), 7, 16, 4)}


def involution(channels, kernel, groups, reduction):
    """As PyTorch's users write it, by unfolding."""
    from torch import nn

    class Involution(nn.Module):
        def __init__(self):
            super().__init__()
            features = channels // reduction
            self.generate = nn.Sequential(nn.Conv2d(channels, features, 1), nn.BatchNorm2d(features), nn.ReLU(),
                                          nn.Conv2d(features, kernel**2 * groups, 1))
            self.unfold = nn.Unfold(kernel, padding=kernel // 2)

        def forward(self, x):
            weight = self.generate(x)
            n, _, h, w = weight.shape
            patches = self.unfold(x).view(n, groups, -1, kernel**2, h, w)
            return (weight.view(n, groups, 1, kernel**2, h, w) * patches).sum(3).flatten(1, 2)

    return Involution()


SAMPLED_PIXELS = 28 * 28  # for each of which PixelCNN's listing makes a forward pass over the batch


def pixelcnn(h=128, blocks=15, levels=256):
    import torch
    from torch import nn

    class MaskConv2d(nn.Module):
        def __init__(self, conv_type, *args):
            super().__init__()
            self.conv = nn.Conv2d(*args)
            kh, kw = self.conv.weight.shape[-2:]
            mask = torch.zeros(1, 1, kh, kw)
            mask[..., : kh // 2, :] = 1
            mask[..., kh // 2, : kw // 2 + (conv_type == "B")] = 1
            self.register_buffer("mask", mask, False)

        def forward(self, x):
            self.conv.weight.data *= self.mask
            return self.conv(x)

    class Block(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    def block():
        return Block(
            nn.ReLU(), nn.Conv2d(2 * h, h, 1), nn.BatchNorm2d(h), nn.ReLU(), MaskConv2d("B", h, h, 3, 1, 1),
            nn.BatchNorm2d(h), nn.ReLU(), nn.Conv2d(h, 2 * h, 1), nn.BatchNorm2d(2 * h))

    return nn.Sequential(
        MaskConv2d("A", 1, 2 * h, 7, 1, 3), nn.BatchNorm2d(2 * h), *[block() for _ in range(blocks)], nn.ReLU(),
        MaskConv2d("B", 2 * h, h, 1), nn.ReLU(), MaskConv2d("B", h, h, 1), nn.ReLU(), nn.Conv2d(h, levels, 1))


def torch_case(name):
    """The module and the shapes of its input in inference and in training, or None."""
    from torch import nn

    if name in CONVOLUTIONS:
        n, c, h, w, m, kernel, stride, padding, groups = CONVOLUTIONS[name]
        return nn.Conv2d(c, m, kernel, stride, padding, groups=groups), (n, c, h, w), (n, c, h, w)
    if name in INVOLUTIONS:
        shape, *options = INVOLUTIONS[name]
        return involution(shape[1], *options), shape, shape
    layers = {
        "norm/batch_norm_64_56_b8": (lambda: nn.BatchNorm2d(64), (8, 64, 56, 56)),
        "norm/batch_norm_relu_64_56_b8": (lambda: nn.Sequential(nn.BatchNorm2d(64), nn.ReLU()), (8, 64, 56, 56)),
        "norm/batch_norm_relu_64_112_b8": (lambda: nn.Sequential(nn.BatchNorm2d(64), nn.ReLU()), (8, 64, 112, 112)),
        "norm/batch_norm_relu_512_7_b8": (lambda: nn.Sequential(nn.BatchNorm2d(512), nn.ReLU()), (8, 512, 7, 7)),
        "norm/batch_norm_1d_1024_b256": (lambda: nn.BatchNorm1d(1024), (256, 1024)),
        "norm/local_response_96_55": (lambda: nn.LocalResponseNorm(5, 5e-4, 0.75, 2), (8, 96, 55, 55)),
        "norm/layer_norm_512_b4096": (lambda: nn.LayerNorm(512), (4096, 512)),
        "norm/rms_norm_512_b4096": (lambda: rms_norm(512), (4096, 512)),
        "norm/group_norm_64_56_b8": (lambda: nn.GroupNorm(8, 64), (8, 64, 56, 56)),
        "norm/instance_norm_64_56_b8": (lambda: nn.InstanceNorm2d(64, affine=True), (8, 64, 56, 56)),
        "norm/drop_path_64_56_b8": (lambda: stochastic_depth(0.2), (8, 64, 56, 56)),
        "shape/pixel_shuffle_2_64_56_b8": (lambda: nn.PixelShuffle(2), (8, 64, 56, 56)),
        "shape/zero_pad_64_56_b8": (lambda: nn.ZeroPad2d(1), (8, 64, 56, 56)),
        "shape/reflection_pad_64_56_b8": (lambda: nn.ReflectionPad2d(1), (8, 64, 56, 56)),
        "shape/upsample_nearest_64_56_b8": (lambda: nn.Upsample(scale_factor=2), (8, 64, 56, 56)),
        "shape/upsample_bilinear_64_56_b8": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (8, 64, 56, 56)),
        "shape/upsample_bicubic_64_56_b8": (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), (8, 64, 56, 56)),
        "conv/1d_128_k3_1000_b8": (lambda: nn.Conv1d(128, 128, 3, padding=1), (8, 128, 1000)),
        "conv/transpose_k4_s2_256_128_14_b8": (lambda: nn.ConvTranspose2d(256, 128, 4, 2, 1), (8, 256, 14, 14)),
        "conv/transpose_k2_s2_128_64_56": (lambda: nn.ConvTranspose2d(128, 64, 2, 2), (1, 128, 56, 56)),
        "conv/transpose_k3_128_28_b8": (lambda: nn.ConvTranspose2d(128, 128, 3, padding=1), (8, 128, 28, 28)),
        "conv/same_s2_32_64_112": (
            lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(32, 64, 3, 2)), (1, 32, 112, 112)),
        "pool/adaptive_max_7_512_14_b8": (lambda: nn.AdaptiveMaxPool2d(7), (8, 512, 14, 14)),
        "pool/max_2x2_64_112_b8": (lambda: nn.MaxPool2d(2), (8, 64, 112, 112)),
        "pool/max_3x3_s2_64_112_b8": (lambda: nn.MaxPool2d(3, 2, 1), (8, 64, 112, 112)),
        "act/relu": (nn.ReLU, (8, 64, 56, 56)),
        "act/sigmoid": (nn.Sigmoid, (8, 64, 56, 56)),
        "act/tanh": (nn.Tanh, (8, 64, 56, 56)),
        "act/gelu": (nn.GELU, (8, 64, 56, 56)),
        "act/silu": (nn.SiLU, (8, 64, 56, 56)),
        "act/elu": (nn.ELU, (8, 64, 56, 56)),
        "act/selu": (nn.SELU, (8, 64, 56, 56)),
        "act/softplus": (nn.Softplus, (8, 64, 56, 56)),
        "act/mish": (nn.Mish, (8, 64, 56, 56)),
        "act/hardtanh": (nn.Hardtanh, (8, 64, 56, 56)),
        "act/prelu": (lambda: nn.PReLU(64), (8, 64, 56, 56)),
        "act/glu": (lambda: nn.GLU(1), (8, 64, 56, 56)),
        "act/swiglu": (lambda: gated("silu"), (8, 64, 56, 56)),
        "act/geglu": (lambda: gated("gelu"), (8, 64, 56, 56)),
        "shape/mean_tokens_512_b64": (lambda: computed(lambda x: x.mean(1)), (64, 196, 512)),
        "act/softmax_1000_b256": (lambda: nn.Softmax(1), (256, 1000)),
    }
    if name in layers:
        make, shape = layers[name]
        return make(), shape, shape
    if name in HAMBURGERS:
        kind, size = HAMBURGERS[name]
        return hamburger(kind, 512), (1, 512, size, size), (1, 512, size, size)
    if found := re.fullmatch(r"context/(\w+)_512x(\d+)x\d+", name):
        shape = (1, 512, int(found[2]), int(found[2]))
        return context(found[1], 512), shape, shape
    if found := re.fullmatch(r"gan/(attention|ylg|hamburger)_256x32x32", name):
        return gan_context(found[1], 256), (4, 256, 32, 32), (4, 256, 32, 32)
    if name == "segnext_t/512":
        return segnext(), (1, 3, 512, 512), (1, 3, 512, 512)
    if name.startswith("pixelcnn/"):
        shape = (int(name.rsplit("b", 1)[1]), 1, 28, 28)
        return pixelcnn(), shape, shape
    if name == "net/lenet_b256":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
            nn.Linear(84, 10)), (256, 1, 28, 28), (256, 1, 28, 28)
    if name == "net/resnet_blocks_b8":
        from torchvision.models.resnet import BasicBlock
        return nn.Sequential(
            *[BasicBlock(64, 64) for _ in range(4)], nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(64, 10)), (8, 64, 56, 56), (8, 64, 56, 56)
    if name.startswith("net/") and name[4:] in NETWORKS:
        import torchvision
        more = {"aux_logits": False, "init_weights": False} if name == "net/googlenet" else {}
        return getattr(torchvision.models, name[4:])(**more), (1, 3, 224, 224), (8, 3, 224, 224)
    return None


TEXT_LENGTHS = {"distilbert/b8_l64": [64] * 8, "distilbert/b8_captions": [9, 10, 12, 13, 14, 15, 17, 20]}


def distilbert_run(name, mode):
    """DistilBERT computed as Hugging Face's DistilBertModel does, on ids [8, 64] with a mask of the real tokens."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(768, 768) for _ in range(4))
            self.dropout = nn.Dropout(0.1)

        def forward(self, x, mask):
            n, length, _ = x.shape
            q, k, v = (layer(x).view(n, length, 12, 64).transpose(1, 2)
                       for layer in (self.q_lin, self.k_lin, self.v_lin))
            scores = torch.matmul(q / 8, k.transpose(2, 3))
            hidden = (mask == 0).view(n, 1, 1, length).expand_as(scores)
            weights = self.dropout(scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1))
            return self.out_lin(torch.matmul(weights, v).transpose(1, 2).contiguous().view(n, length, 768))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.dropout = Attention(), nn.Dropout(0.1)
            self.lin1, self.lin2 = nn.Linear(768, 3072), nn.Linear(3072, 768)
            self.sa_layer_norm, self.output_layer_norm = (nn.LayerNorm(768, eps=1e-12) for _ in range(2))

        def forward(self, x, mask):
            x = self.sa_layer_norm(self.attention(x, mask) + x)
            return self.output_layer_norm(self.dropout(self.lin2(F.gelu(self.lin1(x)))) + x)

    class DistilBert(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.positions = nn.Embedding(30522, 768, padding_idx=0), nn.Embedding(512, 768)
            self.norm, self.dropout = nn.LayerNorm(768, eps=1e-12), nn.Dropout(0.1)
            self.blocks = nn.ModuleList(Block() for _ in range(6))

        def forward(self, ids, mask):
            x = self.dropout(self.norm(self.words(ids) + self.positions(torch.arange(ids.shape[1])[None])))
            for block in self.blocks:
                x = block(x, mask)
            return x

    module = DistilBert().train(mode == "train")
    mask = (torch.arange(64) < torch.tensor(TEXT_LENGTHS[name])[:, None]).long()
    ids = torch.randint(1, 30522, mask.shape) * mask
    if mode == "infer":
        def infer():
            with torch.inference_mode():
                module(ids, mask)
        return infer

    optimizer = torch.optim.SGD(module.parameters(), 1e-3)
    gradient = mask[:, :, None].expand(-1, -1, 768) / (768.0 * mask.sum())

    def train():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        module(ids, mask).backward(gradient)
        optimizer.step()
    return train


def torch_run(name, mode):
    """A function that does the benchmark once, or None."""
    import torch
    import torch.nn.functional as F

    mode = "train" if mode == "train" else "infer"  # a plan is inference
    if name in TEXT_LENGTHS:
        return distilbert_run(name, mode)
    if name.startswith("gan/step_"):
        return gan_step(name.removeprefix("gan/step_"))
    case = torch_case(name)
    if case is None:
        return None
    module, infer_shape, train_shape = case
    if mode == "infer":
        module.eval()
        x = torch.randn(*infer_shape)

        def infer():
            with torch.inference_mode():
                module(x)
        return infer

    network = name.startswith("net/")
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), 1e-3) if network else None
    x = torch.randn(*train_shape).requires_grad_(not network)
    labels = torch.zeros(len(x), dtype=torch.long)

    def train():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        y = module(x)
        (F.cross_entropy(y, labels) if network else y.sum()).backward()
        if network:
            optimizer.step()
    return train


def torch_worker(threads, seconds):
    """Answers each line of standard input, the name of a benchmark, with the mean milliseconds, or null."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    name, run = None, None
    for line in sys.stdin:
        if line.strip() != name:
            name, run = line.strip(), None
            run = torch_run(*name.rsplit("/", 1))
        if run is None:
            print("null", flush=True)
            continue
        start = time.perf_counter()
        for _ in range(3):
            run()
            if time.perf_counter() - start > 5 * seconds:  # warm enough
                break
        start, runs = time.perf_counter(), 0
        while runs == 0 or time.perf_counter() - start < seconds:
            run()
            runs += 1
        passes = SAMPLED_PIXELS if "/sample_" in name else 1
        print(passes * (time.perf_counter() - start) / runs * 1e3, flush=True)


def benchmarks(build, *programs):
    """(program, benchmark) pairs that the built programs offer."""
    for program in programs or PROGRAMS:
        path = build / "bench" / program
        if not path.exists():
            sys.exit(f"compare_torch.py: there is no {path}; build it first: cmake --workflow --preset release")
        listing = subprocess.run([path, "--benchmark_list_tests"], check=True, capture_output=True, text=True).stdout
        for name in listing.split():
            yield path, name


def lamina_run(path, name, threads, *options):
    """Google Benchmark's facts about one benchmark."""
    command = [path, f"--benchmark_filter=^{name}$", "--benchmark_format=json", *options]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            env=environment(threads)).stdout
    return json.loads(output)["benchmarks"][0]


def environment(threads):
    blas = [str(OPENBLAS[0].parent)] if OPENBLAS else []
    path = ":".join(blas + [part for part in [os.environ.get("LD_LIBRARY_PATH")] if part])
    counts = {f"{name}_NUM_THREADS": str(threads) for name in ("LAMINA", "OMP", "MKL", "OPENBLAS")}
    return {**os.environ, **counts, **({"LD_LIBRARY_PATH": path} if path else {})}


def blas_of_torch():
    """Prints the library that PyTorch's products come from, and what it does with one thread, in GFLOP/s."""
    import torch

    torch.set_num_threads(1)
    a = torch.randn(768, 768)
    best = 1e9
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    mapped = {os.path.realpath(line.split()[-1]) for line in open("/proc/self/maps") if ".so" in line}
    chosen = [path for path in mapped if "libblas" in path or "libmkl_core" in path or "libblis" in path]
    version = re.search(r"libopenblas[a-z]*-r([0-9.]+)\.so", " ".join(mapped))
    plain = all("openblas" not in path and "mkl" not in path and "blis" not in path for path in chosen)
    name = "a plain BLAS" if plain else f"OpenBLAS {version[1]}" if version else chosen[0]
    print(json.dumps({"name": name, "plain": plain, "gflops": 2 * 768**3 / best / 1e9}))


def say_blas():
    """Says which BLAS PyTorch has. Ends if it is a plain one."""
    answer = subprocess.run([sys.executable, __file__, "--torch-blas"], check=True, stdout=subprocess.PIPE, text=True,
                            env=environment(1)).stdout
    blas = json.loads(answer)
    if blas["plain"]:
        sys.exit("compare_torch.py: PyTorch multiplies matrices by a plain BLAS, to which nothing is to be compared "
                 "(Debian: apt-get install libopenblas0-pthread)")
    print(f"PyTorch's matrix products: {blas['name']}, {blas['gflops']:.0f} GFLOP/s on one thread")


# A process counts the memory of the one that started it into its peak; this one is small.
STARTER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(status != 0)
"""


def peak_memory(command, threads):
    """The peak resident megabytes of a process."""
    starter = subprocess.run([sys.executable, "-c", STARTER, *map(str, command)], stdout=subprocess.PIPE, text=True,
                             env=environment(threads))
    if starter.returncode:
        sys.exit(f"compare_torch.py: failed: {' '.join(map(str, command))}")
    return int(starter.stdout) / 1024


def compare_memory(arguments, selected):
    print("| benchmark | threads | Lamina MB | PyTorch MB | PyTorch / Lamina |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for threads in arguments.threads:
        for path, name in selected:
            if torch_run(*name.rsplit("/", 1)) is None:
                continue
            ours = peak_memory([path, f"--benchmark_filter=^{name}$", "--benchmark_min_time=0.1"], threads)
            theirs = peak_memory([sys.executable, __file__, "--torch-once", name, "--threads", str(threads)], threads)
            print(f"| {name} | {threads} | {ours:.0f} | {theirs:.0f} | {theirs / ours:.2f} |", flush=True)


def compare_times(arguments, selected):
    path = next(benchmarks(arguments.build, "bench_layers"))[0]
    limits = [lamina_run(path, "limit/multiply_add", 1, "--benchmark_min_time=0.2") for _ in range(3)]
    limit = max(run["GFLOP"] / run["real_time"] * 1e3 for run in limits)
    print(f"The multiply-add limit of a core: {limit:.0f} GFLOP/s\n")
    print("| benchmark | threads | Lamina ms | PyTorch ms | PyTorch / Lamina | GFLOP/s | of the limit |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for threads in arguments.threads:
        worker = subprocess.Popen(
            [sys.executable, __file__, "--torch-worker", str(threads), "--seconds", str(arguments.seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(threads))
        ratios = []
        for path, name in selected:
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(lamina_run(path, name, threads, f"--benchmark_min_time={arguments.seconds}"))
                worker.stdin.write(name + "\n")
                worker.stdin.flush()
                answer = worker.stdout.readline()
                if not answer:
                    sys.exit(f"compare_torch.py: PyTorch's side ended on {name}")
                theirs.append(json.loads(answer))
            best = min(ours, key=lambda run: run["real_time"])
            time_, rate = best["real_time"], best.get("GFLOP", 0) / best["real_time"] * 1e3
            work = f"{rate:.0f} | {rate / limit / threads:.0%}" if rate else " | "
            row = f"| {name} | {threads} | {time_:.3f} |"
            if None in theirs:
                print(f"{row} | | {work} |", flush=True)
                continue
            ratios.append(min(theirs) / time_)
            print(f"{row} {min(theirs):.3f} | {ratios[-1]:.2f} | {work} |", flush=True)
        if ratios:
            mean = statistics.geometric_mean(ratios)
            print(f"| geometric mean of {len(ratios)} | {threads} | | | {mean:.2f} | | |", flush=True)
        worker.stdin.close()
        worker.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX",
                        help="only benchmarks in whose names this is found, e.g. lenet or 'conv/3x3.*infer'")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each benchmark (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.2, help="seconds of one round's side (default: 0.2)")
    parser.add_argument("--memory", action="store_true", help="compare peak memory, not time")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "build/release",
                        help="build directory (default: build/release)")
    parser.add_argument("--torch-worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--torch-once", help=argparse.SUPPRESS)
    parser.add_argument("--torch-blas", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch_blas:
        blas_of_torch()
        return
    if arguments.torch_worker:
        torch_worker(arguments.torch_worker, arguments.seconds)
        return
    if arguments.torch_once:
        run = torch_run(*arguments.torch_once.rsplit("/", 1))
        for _ in range(3):
            run()
        return

    selected = [pair for pair in benchmarks(arguments.build) if re.search(arguments.only, pair[1])]
    selected = [pair for pair in selected if not pair[1].startswith("limit/")]
    if not selected:
        sys.exit(f"compare_torch.py: no benchmark's name contains '{arguments.only}'")
    if subprocess.run([sys.executable, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode:
        sys.exit(f"compare_torch.py: {sys.executable} has no PyTorch (Debian: apt-get install python3-torch, and run "
                 "this with /usr/bin/python3)")
    say_blas()
    (compare_memory if arguments.memory else compare_times)(arguments, selected)


if __name__ == "__main__":
    main()

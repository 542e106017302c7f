#!/usr/bin/python3
"""Makes pixelcnn.safetensors: masked convolutions, the usual listing of PixelCNN at a small size, the layers of the
Gated PixelCNN, and the loss.

    tests/golden/make_pixelcnn.py            writes the file
    tests/golden/make_pixelcnn.py --check    makes it again in memory and compares, as make_layers.py

Entries as in make_layers.py. The weights that are loaded have values at the masked taps, as those of a PyTorch model
before its first forward have; the gradients there are zero.
"""

import sys

import torch
import torch.nn.functional as F
from make_layers import Draw, write_fixture
from torch import nn


class MaskConv2d(nn.Module):
    """Mask A or B; "vertical_A" and "vertical_B" see whole rows, as in the Gated PixelCNN."""

    def __init__(self, conv_type, *args, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(*args, **kwargs)
        kh, kw = self.conv.weight.shape[-2:]
        mask = torch.zeros((kh, kw))
        mask[: kh // 2] = 1
        if conv_type in ("A", "B"):
            mask[kh // 2, : kw // 2 + (conv_type == "B")] = 1
        elif conv_type == "vertical_B":
            mask[kh // 2] = 1
        self.register_buffer("mask", mask, False)
        self.conv.weight.register_hook(lambda gradient: gradient * self.mask)

    def forward(self, x):
        self.conv.weight.data *= self.mask
        return self.conv(x)


class ResidualBlock(nn.Module):
    def __init__(self, h, bn):
        super().__init__()
        self.conv1 = nn.Conv2d(2 * h, h, 1)
        self.bn1 = nn.BatchNorm2d(h) if bn else nn.Identity()
        self.conv2 = MaskConv2d("B", h, h, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(h) if bn else nn.Identity()
        self.conv3 = nn.Conv2d(h, 2 * h, 1)
        self.bn3 = nn.BatchNorm2d(2 * h) if bn else nn.Identity()

    def forward(self, x):
        y = self.bn1(self.conv1(F.relu(x)))
        y = self.bn2(self.conv2(F.relu(y)))
        return x + self.bn3(self.conv3(F.relu(y)))


class PixelCNN(nn.Module):
    def __init__(self, n_block, h, bn, color_level):
        super().__init__()
        self.conv1 = MaskConv2d("A", 1, 2 * h, 7, 1, 3)
        self.bn1 = nn.BatchNorm2d(2 * h) if bn else nn.Identity()
        self.residual_blocks = nn.ModuleList(ResidualBlock(h, bn) for _ in range(n_block))
        self.head = nn.Sequential(
            MaskConv2d("B", 2 * h, h, 1), nn.ReLU(), MaskConv2d("B", h, h, 1), nn.ReLU(), nn.Conv2d(h, color_level, 1))

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        for block in self.residual_blocks:
            x = block(x)
        return self.head(F.relu(x))


def gate(x):
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    def __init__(self, first, p, classes):
        super().__init__()
        fan, k = (1, 7) if first else (p, 3)
        self.first = first
        self.vertical = MaskConv2d("vertical_A" if first else "vertical_B", fan, 2 * p, k, 1, k // 2)
        if classes:
            self.vertical_condition = nn.Conv2d(classes, 2 * p, 1, bias=False)
        self.link = nn.Conv2d(2 * p, 2 * p, 1)
        self.horizontal = MaskConv2d("A" if first else "B", fan, 2 * p, (1, k), 1, (0, k // 2))
        if classes:
            self.horizontal_condition = nn.Conv2d(classes, 2 * p, 1, bias=False)
        self.out = nn.Conv2d(p, p, 1)

    def forward(self, v, h, c):
        a = self.vertical(v)
        if c is not None:
            a = a + self.vertical_condition(c)
        b = self.horizontal(h) + self.link(a)
        if c is not None:
            b = b + self.horizontal_condition(c)
        y = self.out(gate(b))
        return gate(a), y if self.first else h + y


class GatedStack(nn.ModuleList):
    """The two stacks of the Gated PixelCNN; channels behind the first hold the condition."""

    def __init__(self, blocks, p, classes=0):
        super().__init__(GatedLayer(i == 0, p, classes) for i in range(blocks + 1))
        self.classes = classes

    def forward(self, x):
        c = x[:, 1:, :1, :1] if self.classes else None
        v = h = x[:, :1]
        for layer in self:
            v, h = layer(v, h, c)
        return h


def pixel_loss(logits, target):
    return F.cross_entropy(logits, target, reduction="sum") / len(logits)


def cases(f):
    f.layer("masked/A", MaskConv2d("A", 1, 4, 7, 1, 3), (2, 1, 5, 6))
    f.layer("masked/B", MaskConv2d("B", 3, 4, 3, 1, 1), (2, 3, 4, 5))
    f.layer("masked/1x1", MaskConv2d("B", 3, 4, 1), (2, 3, 2, 3))
    f.layer("masked/vertical_A", MaskConv2d("vertical_A", 2, 3, 3, 1, 1), (1, 2, 4, 5))
    f.layer("masked/vertical_B", MaskConv2d("vertical_B", 2, 3, 5, 1, 2), (1, 2, 4, 5))
    f.layer("pixelcnn/norm", PixelCNN(2, 4, True, 3), (2, 1, 6, 5))
    f.layer("pixelcnn/plain", PixelCNN(1, 3, False, 4), (2, 1, 4, 4))
    f.layer("gated/plain", GatedStack(2, 3), (2, 1, 6, 5))
    f.layer("gated/condition", GatedStack(1, 4, 2), (2, 3, 4, 5))
    f.loss("loss", pixel_loss, (3, 4, 2, 5), Draw("loss targets").labels((3, 2, 5), 4))


if __name__ == "__main__":
    sys.exit(write_fixture("pixelcnn", __doc__, cases))

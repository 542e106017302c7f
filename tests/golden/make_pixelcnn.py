#!/usr/bin/python3
"""Makes pixelcnn.safetensors: masked convolutions, the usual listing of PixelCNN at a small size, and its loss.

    tests/golden/make_pixelcnn.py            writes the file
    tests/golden/make_pixelcnn.py --check    makes it again in memory and compares, as make_layers.py

Entries as in make_layers.py. The weights that are loaded have values at the masked taps, as those of a PyTorch model
before its first forward have; the gradients there are zero.
"""

import argparse
import sys

import torch
import torch.nn.functional as F
from make_layers import HERE, Draw, Fixture, differences, write_safetensors
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


def pixel_loss(logits, target):
    return F.cross_entropy(logits, target, reduction="sum") / len(logits)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    options = parser.parse_args()

    torch.set_num_threads(1)
    f = Fixture()
    f.layer("masked/A", MaskConv2d("A", 1, 4, 7, 1, 3), (2, 1, 5, 6))
    f.layer("masked/B", MaskConv2d("B", 3, 4, 3, 1, 1), (2, 3, 4, 5))
    f.layer("masked/1x1", MaskConv2d("B", 3, 4, 1), (2, 3, 2, 3))
    f.layer("masked/vertical_A", MaskConv2d("vertical_A", 2, 3, 3, 1, 1), (1, 2, 4, 5))
    f.layer("masked/vertical_B", MaskConv2d("vertical_B", 2, 3, 5, 1, 2), (1, 2, 4, 5))
    f.layer("pixelcnn/norm", PixelCNN(2, 4, True, 3), (2, 1, 6, 5))
    f.layer("pixelcnn/plain", PixelCNN(1, 3, False, 4), (2, 1, 4, 4))
    f.loss("loss", pixel_loss, (3, 4, 2, 5), Draw("loss targets").labels((3, 2, 5), 4))
    content, path = write_safetensors(f.tensors, f.metadata), HERE / "pixelcnn.safetensors"
    if options.check:
        lines = differences(path, content)
        print(*lines, sep="\n")
        return 1 if lines else 0
    path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())

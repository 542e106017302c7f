#!/usr/bin/python3
"""Makes context.safetensors: the golden values of Interpolate and of the context modules, with PyTorch.

    tests/golden/make_context.py [--check | --list]        as make_layers.py, which says what the entries are
"""

import sys

import make_layers as layers
import torch
import torch.nn.functional as F
from torch import nn

layers.AREAS.clear()


class PixelAttention(nn.Module):
    def __init__(self, keys, scale=1.0):
        super().__init__()
        self.keys, self.scale = keys, scale

    def forward(self, x):
        q, k, v = x.flatten(2).split([self.keys, self.keys, x.shape[1] - 2 * self.keys], dim=1)
        weights = torch.softmax(self.scale * q.transpose(1, 2) @ k, dim=-1)
        return (v @ weights.transpose(1, 2)).view(x.shape[0], -1, *x.shape[2:])


class ChannelAttention(nn.Module):
    def forward(self, x):
        flat = x.flatten(2)
        energy = flat @ flat.transpose(1, 2)
        energy = energy.max(dim=-1, keepdim=True)[0] - energy
        return (torch.softmax(energy, dim=-1) @ flat).view(x.shape)


class GatherDistribute(nn.Module):
    def __init__(self, gathered):
        super().__init__()
        self.gathered = gathered

    def forward(self, x):
        g = self.gathered
        a, b, v = x.flatten(2).split([x.shape[1] - 2 * g, g, g], dim=1)
        features = a @ torch.softmax(b, dim=-1).transpose(1, 2)
        return (features @ torch.softmax(v, dim=1)).view(x.shape[0], -1, *x.shape[2:])


class Burger(nn.Module):
    def __init__(self, channels, keys, biased, attention):
        super().__init__()
        self.keys, self.attention = keys, attention
        for key in keys:
            setattr(self, key, nn.Conv2d(channels, channels, 1, bias=key == biased))
        self.out = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels, momentum=3e-4))

    def forward(self, x):
        lower = torch.cat([getattr(self, key)(x) for key in self.keys], dim=1)
        return F.relu(self.out(self.attention(lower)) + x)


class Position(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.core = PixelAttention(channels // 8)

    def forward(self, x):
        return self.gamma * self.core(torch.cat([self.query(x), self.key(x), self.value(x)], dim=1)) + x


class Channel(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.core = ChannelAttention()

    def forward(self, x):
        return self.gamma * self.core(x) + x


class Branch(nn.Module):
    def __init__(self, channels, attention):
        super().__init__()
        self.attention = attention
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels, momentum=3e-4)

    def forward(self, x):
        return F.relu(self.bn(self.conv(self.attention(x))))


class DualAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.position, self.channel = Branch(channels, Position(channels)), Branch(channels, Channel())

    def forward(self, x):
        return self.position(x) + self.channel(x)


@layers.area
def context(f):
    def resize(case, shape, size, mode, corners=None):
        f.layer(f"interpolate/{case}", nn.Upsample(size, mode=mode, align_corners=corners), shape)

    for name, mode, corners in (("nearest", "nearest", None), ("bilinear", "bilinear", False),
                                ("corners", "bilinear", True)):
        resize(f"{name}_up", (2, 3, 4, 5), (8, 15), mode, corners)
        resize(f"{name}_odd", (1, 2, 5, 7), (13, 18), mode, corners)
        resize(f"{name}_down", (1, 2, 9, 20), (4, 7), mode, corners)
        resize(f"{name}_same", (1, 2, 3, 4), (3, 4), mode, corners)
        resize(f"{name}_one", (1, 2, 3, 4), (1, 1), mode, corners)
        resize(f"{name}_from_one", (1, 2, 1, 1), (3, 19), mode, corners)

    f.layer("pixel_attention", PixelAttention(3, 0.5), (2, 11, 4, 5))
    f.layer("pixel_attention_blocks", PixelAttention(2), (1, 5, 37, 48))
    f.layer("channel_attention", ChannelAttention(), (2, 5, 3, 4))
    f.layer("gather_distribute", GatherDistribute(4), (2, 11, 3, 5))
    f.layer("self_attention", Burger(6, ("query", "key", "value"), "query", PixelAttention(6, 6**-0.5)), (2, 6, 3, 4))
    f.layer("double_attention", Burger(6, ("features", "gather", "distribute"), "distribute", GatherDistribute(6)), (2, 6, 3, 4))
    f.layer("dual_attention", DualAttention(8), (2, 8, 3, 4))


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    sys.exit(layers.main())

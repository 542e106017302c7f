#!/usr/bin/python3
"""Makes models.safetensors, the values of the classic networks from torchvision and from the listings.

    tests/golden/make_models.py              writes the file
    tests/golden/make_models.py --check      makes it again in memory and compares, as make_layers.py
    tests/golden/make_models.py --keys NAME  prints the keys and shapes of a network, as they are hashed

Needs PyTorch and torchvision (Debian 12: python3-torch, python3-torchvision). Weights are not stored: every parameter,
buffer and image is a formula of its name, `fill` below, which tests/models/networks_impl.hpp repeats bit by bit. For each case
the file has

    CASE/parameters     how many there are
    CASE/keys           a hash of the sorted keys and shapes of the state_dict
    CASE/x              the shape of the images
    CASE/logits         in evaluation mode, at most 40 classes evenly taken, for those weights
and for the cases under "train/", after a training-mode forward and the backward of the cross entropy,
    CASE/loss, CASE/dx, CASE/grad.KEY, CASE/after.KEY
                        tensors by two numbers: their norm, and their inner product with `uniform(KEY + ".direction")`;
                        for a case with a size, "resnet18@193x225", of a few parameters only

Computed in float64 with weights that are float32 numbers.
"""

import argparse
import math
import re
import sys
import warnings

import numpy
import torch
import torch.nn.functional as F
import torchvision.models as tv
from make_layers import HERE, differences, write_safetensors
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

# --- weights by formula -----------------------------------------------------------------------------------------------


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def uniform(key, count):
    """U[-1, 1) with 24 bits: splitmix64 of the key's hash and the position."""
    z = numpy.uint64(fnv1a(key)) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    z = z ^ (z >> numpy.uint64(31))
    return (z >> numpy.uint64(40)).astype(numpy.float64) * 2.0**-23 - 1


def fill(key, shape):
    u = uniform(key, math.prod(shape))
    if len(shape) > 1:
        u = u * math.sqrt(6 / (math.prod(shape) / shape[0]))
    elif key.endswith("running_var"):
        u = 1 + 0.5 * u
    elif key.endswith("weight"):
        u = 1 + 0.25 * u
    else:
        u = 0.1 * u
    return torch.from_numpy(u.astype(numpy.float32).astype(numpy.float64).reshape(shape))


def images(shape):
    return torch.from_numpy(uniform("images", math.prod(shape)).reshape(shape))


# --- the listings -----------------------------------------------------------------------------------------------------


def alexnet_listing(channels=1, classes=10, groups=1, padding=1, side=5, norm=nn.Identity, hidden=4096):
    """The listing; and with the groups and normalisation of the paper."""
    return nn.Sequential(
        nn.Conv2d(channels, 96, 11, 4, padding), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=groups), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1, groups=groups), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(side),
        nn.Flatten(), nn.Linear(256 * side * side, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, hidden),
        nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, classes))  # fmt: skip


def alexnet_paper(classes=1000):
    # PyTorch's alpha is divided by the size of the neighbourhood.
    return alexnet_listing(3, classes, 2, 2, 6, lambda: nn.LocalResponseNorm(5, 5e-4, 0.75, 2), hidden=64)


def alexnet_key(with_norm):
    places = {0: "features.0", 4: "features.3", 8: "features.6", 10: "features.8", 12: "features.10",
              17: "classifier.0", 20: "classifier.3", 23: "classifier.6"}  # fmt: skip
    if with_norm:
        places.update({4: "features.4", 8: "features.8", 10: "features.10", 12: "features.12"})
    return lambda key: re.sub(r"^\d+", lambda match: places[int(match[0])], key)


def vgg_listing(ratio):
    blocks, inputs = [], 1
    for convolutions, outputs in ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)):
        layers = []
        for _ in range(convolutions):
            layers += [nn.Conv2d(inputs, outputs // ratio, 3, padding=1), nn.ReLU()]
            inputs = outputs // ratio
        blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2, 2)))
    return nn.Sequential(
        *blocks, nn.Flatten(), nn.Linear(inputs * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 4096),
        nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 10))  # fmt: skip


def vgg_listing_key(key):
    places = {"0.0": "features.0", "1.0": "features.3", "2.0": "features.6", "2.2": "features.8", "3.0": "features.11",
              "3.2": "features.13", "4.0": "features.16", "4.2": "features.18", "6": "classifier.0",
              "9": "classifier.3", "12": "classifier.6"}  # fmt: skip
    place, name = key.rsplit(".", 1)
    return f"{places[place]}.{name}"


def vgg(columns, batch_norm=False, hidden=64):
    """torchvision's VGG with other columns of the paper's table and narrower hidden layers."""
    net = tv.VGG(make_layers(columns, batch_norm), init_weights=False)
    net.classifier[0], net.classifier[3] = nn.Linear(512 * 7 * 7, hidden), nn.Linear(hidden, hidden)
    net.classifier[6] = nn.Linear(hidden, 1000)
    return net


def vgg_a_lrn():
    net = vgg(cfgs["A"])
    layers = list(net.features)
    net.features = nn.Sequential(*layers[:2], nn.LocalResponseNorm(5, 5e-4, 0.75, 2), *layers[2:])
    return net


def vgg_c():
    net = vgg(cfgs["D"])
    for i, channels in {14: 256, 21: 512, 28: 512}.items():
        net.features[i] = nn.Conv2d(channels, channels, 1)
    return net


def nin(channels=1, classes=10, head=None):
    def block(inputs, middle, outputs, kernel, stride, padding):
        return nn.Sequential(
            nn.Conv2d(inputs, middle, kernel, stride, padding), nn.ReLU(), nn.Conv2d(middle, middle, 1), nn.ReLU(),
            nn.Conv2d(middle, outputs, 1), nn.ReLU())  # fmt: skip

    return nn.Sequential(
        block(channels, 96, 96, 11, 4, 0), nn.MaxPool2d(3, 2), block(96, 256, 256, 5, 1, 2), nn.MaxPool2d(3, 2),
        block(256, 384, 384, 3, 1, 1), nn.MaxPool2d(3, 2), nn.Dropout(0.5),
        block(384, head or classes, classes, 3, 1, 1), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())  # fmt: skip


class InceptionListing(nn.Module):
    def __init__(self, inputs, c1, c2, c3, c4):
        super().__init__()
        self.p1_1 = nn.Conv2d(inputs, c1, 1)
        self.p2_1, self.p2_2 = nn.Conv2d(inputs, c2[0], 1), nn.Conv2d(c2[0], c2[1], 3, padding=1)
        self.p3_1, self.p3_2 = nn.Conv2d(inputs, c3[0], 1), nn.Conv2d(c3[0], c3[1], 5, padding=2)
        self.p4_1, self.p4_2 = nn.MaxPool2d(3, 1, 1), nn.Conv2d(inputs, c4, 1)

    def forward(self, x):
        p2, p3 = self.p2_2(F.relu(self.p2_1(x))), self.p3_2(F.relu(self.p3_1(x)))
        return F.relu(torch.cat((self.p1_1(x), p2, p3, self.p4_2(self.p4_1(x))), 1))


def googlenet_listing():
    pool = nn.MaxPool2d(3, 2, 1)
    b1 = nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3), nn.ReLU(), pool)
    b2 = nn.Sequential(nn.Conv2d(64, 64, 1), nn.ReLU(), nn.Conv2d(64, 192, 3, padding=1), nn.ReLU(), pool)
    b3 = nn.Sequential(InceptionListing(192, 64, (96, 128), (16, 32), 32),
                       InceptionListing(256, 128, (128, 192), (32, 96), 64), pool)  # fmt: skip
    b4 = nn.Sequential(InceptionListing(480, 192, (96, 208), (16, 48), 64),
                       InceptionListing(512, 160, (112, 224), (24, 64), 64),
                       InceptionListing(512, 128, (128, 256), (24, 64), 64),
                       InceptionListing(512, 112, (144, 288), (32, 64), 64),
                       InceptionListing(528, 256, (160, 320), (32, 128), 128), pool)  # fmt: skip
    b5 = nn.Sequential(InceptionListing(832, 256, (160, 320), (32, 128), 128),
                       InceptionListing(832, 384, (192, 384), (48, 128), 128), nn.AdaptiveAvgPool2d((1, 1)),
                       nn.Flatten())  # fmt: skip
    return nn.Sequential(b1, b2, b3, b4, b5, nn.Linear(1024, 10))


def googlenet_listing_key(key):
    stages = {"0.0": "conv1.conv", "1.0": "conv2.conv", "1.2": "conv3.conv", "2.0": "inception3a", "2.1": "inception3b",
              "3.0": "inception4a", "3.1": "inception4b", "3.2": "inception4c", "3.3": "inception4d",
              "3.4": "inception4e", "4.0": "inception5a", "4.1": "inception5b"}  # fmt: skip
    paths = {"p1_1": "branch1", "p2_1": "branch2.0", "p2_2": "branch2.1", "p3_1": "branch3.0", "p3_2": "branch3.1",
             "p4_2": "branch4.1"}  # fmt: skip
    if key.startswith("5."):
        return key.replace("5.", "fc.", 1)
    parts = key.split(".")
    return ".".join([stages[".".join(parts[:2])], *(f"{paths[part]}.conv" for part in parts[2:-1]), parts[-1]])


class ResidualListing(nn.Module):
    def __init__(self, inputs, channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, strides, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(inputs, channels, 1, strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.conv3(x) if self.conv3 else x))


def resnet_listing():
    stem = nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    stages = [nn.Sequential(ResidualListing(64, 64), ResidualListing(64, 64))]
    for channels in (128, 256, 512):
        first = ResidualListing(channels // 2, channels, use_1x1conv=True, strides=2)
        stages.append(nn.Sequential(first, ResidualListing(channels, channels)))
    return nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(512, 10))


def resnet_listing_key(key):
    key = re.sub(r"^0\.0", "conv1", re.sub(r"^0\.1", "bn1", re.sub(r"^7", "fc", key)))
    return re.sub(r"^(\d)", r"layer\1", key.replace("conv3", "downsample.0"))


class HamNetBottleneck(nn.Module):
    """Hamburger's listing, as in EMANet."""

    def __init__(self, inputs, planes, stride=1, dilation=1, downsample=None):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        self.downsample = downsample

    def forward(self, x):
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class HamNetResNet(nn.Module):
    def __init__(self, layers, stride):
        super().__init__()
        self.inplanes = 128
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 128, 3, 1, 1, bias=False))  # fmt: skip
        self.bn1, self.maxpool = nn.BatchNorm2d(128), nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2 = self.stage(64, layers[0]), self.stage(128, layers[1], 2)
        if stride == 16:
            self.layer3 = self.stage(256, layers[2], 2)
            self.layer4 = self.stage(512, layers[3], 1, 2, [1, 2, 4])
        else:
            self.layer3 = self.stage(256, layers[2], 1, 2)
            self.layer4 = self.stage(512, layers[3], 1, 4, [1, 2, 4])
        self.fc = nn.Linear(2048, 1000)

    def stage(self, planes, blocks, stride=1, dilation=1, grids=None):
        downsample = None
        if stride != 1 or self.inplanes != planes * 4:
            projection = nn.Conv2d(self.inplanes, planes * 4, 1, stride, bias=False)
            downsample = nn.Sequential(projection, nn.BatchNorm2d(planes * 4))
        layers = [HamNetBottleneck(self.inplanes, planes, stride, 2 if dilation == 4 else 1, downsample)]
        self.inplanes = planes * 4
        for i in range(1, blocks):
            layers.append(HamNetBottleneck(self.inplanes, planes, dilation=dilation * (grids[i] if grids else 1)))
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class DenseBlockListing(nn.Module):
    def __init__(self, convolutions, inputs, channels):
        super().__init__()
        self.net = nn.Sequential(*(
            nn.Sequential(nn.BatchNorm2d(channels * i + inputs), nn.ReLU(),
                          nn.Conv2d(channels * i + inputs, channels, 3, padding=1))
            for i in range(convolutions)))  # fmt: skip

    def forward(self, x):
        for block in self.net:
            x = torch.cat((x, block(x)), 1)
        return x


def densenet_listing():
    blocks, channels, growth = [], 64, 32
    for i in range(4):
        blocks.append(DenseBlockListing(4, channels, growth))
        channels += 4 * growth
        if i < 3:
            blocks.append(nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1),
                                        nn.AvgPool2d(2, 2)))  # fmt: skip
            channels //= 2
    stem = nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, *blocks, nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
                         nn.Linear(channels, 10))  # fmt: skip


def densenet_listing_key(key):
    if match := re.match(r"(\d)\.net\.(\d)\.(\d)\.(\w+)$", key):
        block, layer, place, name = match.groups()
        kind = {"0": "norm1", "2": "conv1"}[place]
        return f"features.denseblock{(int(block) + 1) // 2}.denselayer{int(layer) + 1}.{kind}.{name}"
    if match := re.match(r"([246])\.(\d)\.(\w+)$", key):
        place, layer, name = match.groups()
        return f"features.transition{int(place) // 2}.{ {'0': 'norm', '2': 'conv'}[layer] }.{name}"
    places = {"0.0": "features.conv0", "0.1": "features.norm0", "8": "features.norm5", "12": "classifier"}
    place, name = key.rsplit(".", 1)
    return f"{places[place]}.{name}"


class SeparableListing(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn2(self.pointwise(F.relu(self.bn1(self.depthwise(x))))))


class MobileNet(nn.Module):
    """The listing of MobileNet V1; and the paper's with its width multiplier."""

    def __init__(self, channels=1, classes=10, width=1.0):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, int(32 * width), 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(int(32 * width))
        sizes = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2),
                 *[(512, 512, 1)] * 5, (512, 1024, 2), (1024, 1024, 1)]  # fmt: skip
        self.layers = nn.Sequential(*(SeparableListing(int(i * width), int(o * width), s) for i, o, s in sizes))
        self.fc = nn.Linear(int(1024 * width), classes)

    def forward(self, x):
        x = self.layers(F.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


# --- cases ------------------------------------------------------------------------------------------------------------


def googlenet(**options):
    return tv.googlenet(aux_logits=True, init_weights=False, **options)


def no_dropout(net):
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def same(key):
    return key


# name: network, images, how the keys of a listing are called in Lamina
EVALUATION = {
    "alexnet": (tv.alexnet, (1, 3, 224, 224), same),
    "alexnet_small_images": (tv.alexnet, (1, 3, 63, 95), same),
    "alexnet_two_towers": (alexnet_paper, (1, 3, 224, 224), alexnet_key(True)),
    "alexnet_listing": (alexnet_listing, (1, 1, 224, 224), alexnet_key(False)),
    "vgg_a": (tv.vgg11, (2, 3, 32, 65), same),
    "vgg_a_bn": (lambda: vgg(cfgs["A"], True), (1, 3, 224, 224), same),
    "vgg_a_lrn": (vgg_a_lrn, (2, 3, 32, 65), same),
    "vgg_b": (lambda: vgg(cfgs["B"]), (2, 3, 32, 65), same),
    "vgg_b_bn": (lambda: vgg(cfgs["B"], True), (2, 3, 32, 65), same),
    "vgg_c": (vgg_c, (2, 3, 32, 65), same),
    "vgg_d": (lambda: vgg(cfgs["D"]), (2, 3, 32, 65), same),
    "vgg_d_bn": (lambda: vgg(cfgs["D"], True), (2, 3, 32, 65), same),
    "vgg_e": (lambda: vgg(cfgs["E"]), (2, 3, 32, 65), same),
    "vgg_e_bn": (lambda: vgg(cfgs["E"], True), (2, 3, 32, 65), same),
    "vgg_listing": (lambda: vgg_listing(4), (1, 1, 224, 224), vgg_listing_key),
    "nin": (nin, (2, 1, 67, 98), same),
    "nin_imagenet": (lambda: nin(3, 1000, 1024), (1, 3, 224, 224), same),
    "googlenet": (lambda: tv.googlenet(aux_logits=False, init_weights=False), (1, 3, 193, 225), same),
    "googlenet_auxiliary": (googlenet, (2, 3, 64, 79), same),
    "googlenet_listing": (googlenet_listing, (2, 1, 96, 96), googlenet_listing_key),
    "resnet18": (tv.resnet18, (1, 3, 224, 224), same),
    "resnet34": (tv.resnet34, (2, 3, 64, 79), same),
    "resnet50": (tv.resnet50, (1, 3, 193, 225), same),
    "resnet101": (tv.resnet101, (2, 3, 64, 79), same),
    "resnet152": (tv.resnet152, (2, 3, 64, 79), same),
    "resnet18_listing": (resnet_listing, (2, 1, 96, 96), resnet_listing_key),
    "resnet50_stride16": (
        lambda: tv.resnet50(replace_stride_with_dilation=[False, False, True]), (1, 3, 65, 97), same),
    "resnet50_stride8": (lambda: tv.resnet50(replace_stride_with_dilation=[False, True, True]), (1, 3, 65, 97), same),
    "resnet50_hamnet16": (lambda: HamNetResNet([3, 4, 6, 3], 16), (1, 3, 65, 97), same),
    "resnet50_hamnet8": (lambda: HamNetResNet([3, 4, 6, 3], 8), (1, 3, 65, 97), same),
    "densenet121": (tv.densenet121, (1, 3, 193, 225), same),
    "densenet169": (tv.densenet169, (2, 3, 64, 79), same),
    "densenet201": (tv.densenet201, (2, 3, 64, 79), same),
    "densenet161": (tv.densenet161, (2, 3, 64, 79), same),
    "densenet_listing": (densenet_listing, (2, 1, 96, 96), densenet_listing_key),
    "mobilenet": (lambda: MobileNet(3, 1000), (1, 3, 193, 225), same),
    "mobilenet_half": (lambda: MobileNet(3, 1000, 0.5), (2, 3, 64, 79), same),
    "mobilenet_listing": (MobileNet, (2, 1, 96, 96), same),
    "mobilenet_v2": (tv.mobilenet_v2, (1, 3, 193, 225), same),
    "mobilenet_v2_wide": (lambda: tv.mobilenet_v2(width_mult=1.4), (2, 3, 64, 79), same),
    "mobilenet_v2_narrow": (lambda: tv.mobilenet_v2(width_mult=0.35), (2, 3, 64, 79), same),
    "mobilenet_v3_large": (tv.mobilenet_v3_large, (1, 3, 224, 224), same),
    "mobilenet_v3_large_narrow": (lambda: tv.mobilenet_v3_large(width_mult=0.75), (2, 3, 64, 79), same),
    "mobilenet_v3_small": (tv.mobilenet_v3_small, (1, 3, 193, 225), same),
}  # fmt: skip

# Each family at 224 x 224 and at 193 x 225: logits, where the cases above lack them, and gradients.
SIZES = {
    f"{name}@{height}x{width}": (EVALUATION[name][0], (1, EVALUATION[name][1][1], height, width), EVALUATION[name][2])
    for name in ("alexnet", "vgg_a_bn", "nin_imagenet", "googlenet", "resnet18", "resnet50", "densenet121", "mobilenet",
                 "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
    for height, width in ((224, 224), (193, 225))
}  # fmt: skip
EVALUATION.update({name: case for name, case in SIZES.items() if case[1] != EVALUATION[name.partition("@")[0]][1]})

# name: network, images
TRAINING = {
    "alexnet_two_towers": (lambda: alexnet_paper(10), (4, 3, 95, 95), alexnet_key(True)),
    "vgg_listing": (lambda: vgg_listing(4), (2, 1, 224, 224), vgg_listing_key),
    "nin": (nin, (4, 1, 96, 96), same),
    "googlenet_auxiliary": (lambda: googlenet(num_classes=10), (4, 3, 96, 96), same),
    "resnet18": (lambda: tv.resnet18(num_classes=10), (4, 3, 96, 96), same),
    "resnet18_listing": (resnet_listing, (4, 1, 96, 96), resnet_listing_key),
    "densenet121_narrow": (lambda: tv.DenseNet(8, (6, 12, 24, 16), 16, num_classes=10), (4, 3, 96, 96), same),
    "densenet_listing": (densenet_listing, (4, 1, 96, 96), densenet_listing_key),
    "mobilenet_listing": (MobileNet, (4, 1, 96, 96), same),
    "mobilenet_v2_narrow": (lambda: tv.mobilenet_v2(width_mult=0.35, num_classes=10), (4, 3, 96, 96), same),
    "mobilenet_v3_small": (lambda: tv.mobilenet_v3_small(num_classes=10), (4, 3, 96, 96), same),
}  # fmt: skip


def filled(make, rename):
    """The network with the weights of the formula, in double."""
    net = no_dropout(make()).double()
    for key, value in net.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            value.copy_(fill(rename(key), tuple(value.shape)))
    return net


def lines(net, rename):
    return sorted(f"{rename(key)} {list(value.shape)}\n" for key, value in net.state_dict().items())


def summary(key, value):
    flat = value.detach().reshape(-1).numpy()
    return torch.tensor([numpy.linalg.norm(flat), flat @ uniform(key + ".direction", flat.size)])


def evaluate(make, shape, rename):
    net = filled(make, rename)
    parameters = sum(value.numel() for value in net.parameters())
    with torch.no_grad():
        logits = net.eval()(images(shape))
    signed = fnv1a("".join(lines(net, rename)))
    return {
        "parameters": torch.tensor(parameters), "keys": torch.tensor(signed - 2**64 if signed >= 2**63 else signed),
        "x": torch.tensor(shape), "logits": logits[:, :: max(1, logits.shape[1] // 40)].contiguous(),
    }  # fmt: skip


def train(make, shape, rename):
    net = filled(make, rename).train()
    x = images(shape).requires_grad_()
    labels = torch.arange(shape[0]) % 10
    out = net(x)
    if isinstance(out, tuple):  # GoogLeNet with its auxiliary heads
        loss = sum(weight * F.cross_entropy(logits, labels) for weight, logits in zip((1, 0.3, 0.3), out))
    else:
        loss = F.cross_entropy(out, labels)
    loss.backward()
    result = {"x": torch.tensor(shape), "loss": loss.detach(), "dx": summary("dx", x.grad)}
    for key, value in net.named_parameters():
        result[f"grad.{rename(key)}"] = summary(rename(key), value.grad)
    for key, value in net.named_buffers():
        if not key.endswith("num_batches_tracked"):
            result[f"after.{rename(key)}"] = summary(rename(key), value)
    return result


def sampled(result):
    """Of the gradients, those of the input and of the first, middle and last weights."""
    weights = [key for key in result if key.startswith("grad.") and key.endswith("weight")]
    keep = {"x", "loss", "dx", weights[0], weights[len(weights) // 2], weights[-1]}
    return {key: value for key, value in result.items() if key in keep}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--keys", choices=EVALUATION, help="print the keys and shapes of a network")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    if options.keys:
        make, _, rename = EVALUATION[options.keys]
        print("".join(lines(make(), rename)), end="")
        return 0

    tensors = {}
    for name, case in EVALUATION.items():
        tensors.update({f"{name}/{key}": value for key, value in evaluate(*case).items()})
    for name, case in TRAINING.items():
        tensors.update({f"train/{name}/{key}": value for key, value in train(*case).items()})
    for name, case in SIZES.items():
        tensors.update({f"train/{name}/{key}": value for key, value in sampled(train(*case)).items()})
    content, path = write_safetensors(tensors, {}), HERE / "models.safetensors"
    if not options.check:
        path.write_bytes(content)
    problems = differences(path, content) if options.check else []
    print(*problems, f"{len(EVALUATION) + len(TRAINING) + len(SIZES)} cases, {len(content)} bytes", sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

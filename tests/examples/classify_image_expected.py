#!/usr/bin/python3
"""Prints what classify_image.cmake expects: torchvision's five largest probabilities for example_inputs.cpp's formulas.

Needs Debian's python3-torch and python3-torchvision.
"""

import math

import numpy
import torch
import torchvision
from torchvision.transforms import functional as F


def fill(net):
    state, place = net.state_dict(), 0
    for key, value in state.items():
        if not value.is_floating_point():
            continue
        center, scale = 0, 0.1
        if value.dim() > 1:
            scale = 1.8 / math.sqrt(value[0].numel())
        elif not key.endswith(("bias", "running_mean")):
            center, scale = 1, 0.3
        i = numpy.arange(value.numel(), dtype=numpy.int64)
        values = center + scale * numpy.sin((i * i + place).astype(numpy.float64))
        state[key] = torch.from_numpy(values.astype(numpy.float32)).reshape(value.shape)
        place += 1
    net.load_state_dict(state)


def photograph(height, width):
    c, y, x = numpy.ogrid[:3, :height, :width]
    return torch.from_numpy((x * x + 3 * y * y + 40 * c * x + 7 * x * y) // 50 % 256).float() / 255


net = torchvision.models.mobilenet_v3_small(weights=None)
fill(net)
net.eval()
for name, size in ("wide.png", (300, 411)), ("small.png", (90, 61)):
    image = F.center_crop(F.resize(photograph(*size), 256, antialias=True), 224)
    image = F.normalize(image, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        values, classes = torch.softmax(net(image[None]), 1)[0].topk(5)
    print(name, " ".join(f"{int(c)}:{float(p):.6f}" for c, p in zip(classes, values)))

#!/usr/bin/env python3
"""Writes tests/golden/clip_images.safetensors: images of bytes, what Pillow makes of them when their shorter side is
resized, and what CLIP's preprocessing, as in clip.py's _transform with torchvision, makes of them.

usage: make_clip_images.py tests/golden/clip_images.safetensors
"""
import os
import sys

import numpy
import torch
from PIL import Image
from torchvision import transforms

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "examples"))
from convert_weights import write_safetensors


def main():
    draw = numpy.random.default_rng(3)
    result = {}
    for name, (h, w), side in [("shrunk", (47, 61), 16), ("wide", (20, 75), 13), ("grown", (11, 9), 20),
                               ("same", (12, 17), 12), ("tall", (60, 22), 21)]:
        ramps = numpy.add.outer(numpy.linspace(0, 255, h), numpy.linspace(-99, 99, w))[..., None]
        pixels = numpy.clip(ramps + draw.normal(0, 60, (h, w, 3)), 0, 255).astype(numpy.uint8)
        image = Image.fromarray(pixels)
        resize = transforms.Resize(side, interpolation=transforms.InterpolationMode.BICUBIC)
        whole = transforms.Compose([resize, transforms.CenterCrop(side), transforms.ToTensor(),
                                    transforms.Normalize((0.48145466, 0.4578275, 0.40821073),
                                                         (0.26862954, 0.26130258, 0.27577711))])
        smooth = transforms.functional.resize(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, side,
                                              transforms.InterpolationMode.BICUBIC, antialias=True)
        channels_first = lambda array: torch.from_numpy(numpy.array(array)).permute(2, 0, 1)
        result.update({f"{name}/side": torch.tensor(side), f"{name}/image": channels_first(pixels),
                       f"{name}/resized": channels_first(resize(image)), f"{name}/smooth": smooth,
                       f"{name}/preprocessed": whole(image)})
    write_safetensors(sys.argv[1], result)


main()

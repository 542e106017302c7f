#!/usr/bin/python3
"""PyTorch by the recipes for CIFAR-10 in examples/README.md, to compare with train_classifier.

    LAMINA_DATA=DIR examples/compare_cifar.py frozen --weights mobilenet_v2.safetensors --train 5000 --size 160 --epochs 10
    LAMINA_DATA=DIR examples/compare_cifar.py tuned --weights mobilenet_v2.safetensors --train 10000 --size 128 --epochs 4
    LAMINA_DATA=DIR examples/compare_cifar.py resnet20 --epochs 20 --state resnet20.pt     goes on where --state ends

DIR has cifar10/cifar-10-batches-bin. `frozen` computes the features of torchvision's MobileNet V2 once and trains a linear
layer with them; `tuned` trains all of it but the batch normalisations; both see images in [-1, 1], as TensorFlow's weights
want. `resnet20` is He et al.'s for CIFAR (2016, with shortcuts of zeros), on crops of the image with four pixels around it,
half of them mirrored. Prints the accuracy on the test images and the processor's seconds. Needs Debian's python3-torch and
python3-torchvision.
"""

import argparse
import json
import os
import pathlib
import struct
import time

import numpy
import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def read_safetensors(path):
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    types = {"F32": numpy.float32, "I64": numpy.int64}
    state = {}
    for key, entry in header.items():
        begin, end = entry["data_offsets"]
        values = numpy.frombuffer(content[8 + length + begin : 8 + length + end], types[entry["dtype"]])
        state[key] = torch.from_numpy(values.copy()).reshape(entry["shape"])
    return state


def cifar10(train, count=None):
    folder = pathlib.Path(os.environ["LAMINA_DATA"]) / "cifar10" / "cifar-10-batches-bin"
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
    records = numpy.concatenate([numpy.fromfile(folder / name, numpy.uint8).reshape(-1, 3073) for name in names])[:count]
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(records[:, 0].astype(numpy.int64))


def shown(images, size):
    """Bytes as the network sees them."""
    images = images.float() / 255
    if size != 32:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return (images - 0.5) / 0.5


def mobilenet(weights):
    net = torchvision.models.mobilenet_v2()
    net.load_state_dict(read_safetensors(weights))
    net.classifier[1] = nn.Linear(1280, 10)
    return net


def accuracy(net, images, labels, prepare):
    net.eval()
    with torch.no_grad():
        right = [(net(prepare(x)).argmax(1) == y).sum().item() for x, y in zip(images.split(250), labels.split(250))]
    return sum(right) / len(labels)


def frozen(options):
    net = mobilenet(options.weights).eval()

    def features(images):
        with torch.no_grad():
            return torch.cat([net.features(shown(x, options.size)).mean((2, 3)) for x in images.split(250)])

    (images, labels), (test_images, test_labels) = cifar10(True, options.train), cifar10(False, options.test)
    x, test_x, head = features(images), features(test_images), net.classifier[1]
    groups = [{"params": [head.weight], "weight_decay": 1e-3}, {"params": [head.bias]}]
    optimizer = torch.optim.Adam(groups, lr=1e-3)
    for _ in range(options.epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(head(x[batch]), labels[batch]).backward()
            optimizer.step()
    return accuracy(head, test_x, test_labels, lambda x: x)


def tuned(options):
    net = mobilenet(options.weights)
    (images, labels), (test_images, test_labels) = cifar10(True, options.train), cifar10(False, options.test)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    for epoch in range(options.epochs):
        net.train()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            x = shown(images[batch], options.size)
            mirrored = torch.rand(len(batch)) < 0.5
            x[mirrored] = x[mirrored].flip(3)
            F.cross_entropy(net(x), labels[batch]).backward()
            optimizer.step()
        schedule.step()
        share = accuracy(net, test_images, test_labels, lambda x: shown(x, options.size))
        print(f"epoch {epoch + 1}: {share:.4f}, {time.process_time():.0f} s of the processor", flush=True)
    return share


class Block(nn.Module):
    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.stride, self.more = stride, channels - before

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2)))


def resnet_20():
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for before, channels, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [Block(before, channels, stride), Block(channels, channels, 1), Block(channels, channels, 1)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net


def cropped(images):
    """Bytes: a window anywhere in the image with four zeros around it, half of them mirrored."""
    padded, result = F.pad(images, (4, 4, 4, 4)), torch.empty_like(images)
    for i, (y, x, mirror) in enumerate(zip(*(torch.randint(n, (len(images),)).tolist() for n in (9, 9, 2)))):
        window = padded[i, :, y : y + 32, x : x + 32]
        result[i] = window.flip(2) if mirror else window
    return result


def resnet20(options):
    (images, labels), (test_images, test_labels) = cifar10(True, options.train), cifar10(False, options.test)
    mean = (images / 255.0).mean((0, 2, 3)).reshape(3, 1, 1)
    std = (images / 255.0).std((0, 2, 3), unbiased=False).reshape(3, 1, 1)

    def normalized(x):
        return (x / 255.0 - mean) / std

    net = resnet_20()
    decayed = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() == 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 1e-4}, {"params": others}], lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    begun, parts = 0, {"net": net, "optimizer": optimizer, "schedule": schedule}
    if options.state and os.path.exists(options.state):
        saved = torch.load(options.state)
        begun = saved["epoch"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    for epoch in range(begun, options.epochs):
        net.train()
        for batch in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            F.cross_entropy(net(normalized(cropped(images[batch]))), labels[batch]).backward()
            optimizer.step()
        schedule.step()
        share = accuracy(net, test_images, test_labels, normalized)
        print(f"epoch {epoch + 1}: {share:.4f}, {time.process_time():.0f} s of the processor", flush=True)
        if options.state:
            torch.save({"epoch": epoch + 1, **{name: part.state_dict() for name, part in parts.items()}}, options.state)
    return accuracy(net, test_images, test_labels, normalized)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=("frozen", "tuned", "resnet20"))
    parser.add_argument("--weights")
    parser.add_argument("--state")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, help="of the training images the first; 5000, for resnet20 all")
    for name, default in {"test": 10000, "size": 160, "epochs": 10, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.recipe != "resnet20" and not options.weights:
        parser.error("frozen and tuned need --weights")
    if options.recipe != "resnet20" and options.train is None:
        options.train = 5000
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    share = {"frozen": frozen, "tuned": tuned, "resnet20": resnet20}[options.recipe](options)
    print(f"{options.recipe}: {share:.4f} of the test images are right, {time.process_time():.0f} s of the processor")


main()

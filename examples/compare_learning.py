#!/usr/bin/python3
"""Trains each family of networks with train_classifier and with PyTorch, by one recipe, and prints the table of both.

    examples/compare_learning.py build/release/examples/train_classifier [--only resnet18,nin] [--seeds 0,1] [--threads 2]

The first 10,000 training and 2,000 test images of Fashion-MNIST in LAMINA_DATA, two epochs. RECIPES has train_classifier's
options; torch_accuracy does by PyTorch what they say. Initial values and the order of images are drawn by each side for
itself, except that NiN starts from PyTorch's initial values on both: it ends with a ReLU, and a class whose map is 0 for
all images stays so; how many do is decided by the draw, and decides the accuracy. Needs Debian's python3-torch and
python3-torchvision.
"""

import argparse
import gzip
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

import numpy
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import nn

from convert_weights import write_safetensors

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"))
import make_models as listings

EPOCHS, TRAIN, TEST = 2, 10_000, 2_000


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, 10))  # fmt: skip


def scaled(net, width, hidden=None):
    """The network for one channel, with `width` times the channels, and hidden units of its linear layers."""

    def maps(channels):
        return {1: 1, 3: 1, 10: 10}.get(channels) or round(channels * width)  # images, or classes

    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d):
                new = nn.Conv2d(maps(layer.in_channels), maps(layer.out_channels), layer.kernel_size, layer.stride,
                                layer.padding, bias=layer.bias is not None)  # fmt: skip
            elif isinstance(layer, nn.BatchNorm2d):
                new = nn.BatchNorm2d(maps(layer.num_features), layer.eps, layer.momentum)
            elif isinstance(layer, nn.Linear):
                inputs = hidden if layer.in_features == 4096 else maps(layer.in_features)
                new = nn.Linear(inputs, 10 if layer.out_features == 10 else hidden)
            else:
                continue
            setattr(parent, name, new)
    return net


def vgg11(width, hidden):
    net = scaled(tv.vgg11(weights=None, init_weights=False, num_classes=10), width, hidden)
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.zeros_(layer.bias)  # as torchvision initialises it
    return net


def one_channel(net):
    """torchvision's MobileNets, with its initial values."""
    first = net.features[0][0]
    net.features[0][0] = nn.Conv2d(1, first.out_channels, 3, 2, 1, bias=False)
    nn.init.kaiming_normal_(net.features[0][0].weight, mode="fan_out")
    return net


ADAM = "--optimizer adam --lr 0.001 --batch-size 64 --init xavier"
SGD = "--optimizer sgd --lr 0.05 --momentum 0.9 --weight-decay 5e-4 --schedule cosine --label-smoothing 0.1 --batch-size 64"
RECIPES = {  # train_classifier's --model: the same in PyTorch, the options
    "lenet": (lenet, "--optimizer adam --lr 0.003 --batch-size 32 --init xavier"),
    "alexnet_listing": (lambda: scaled(listings.alexnet_listing(), 0.25, 256), f"--resize 96 --width 0.25 --hidden 256 {ADAM}"),
    "vgg11": (lambda: vgg11(0.125, 256), f"--resize 64 --width 0.125 --hidden 256 {ADAM}"),
    "nin": (lambda: scaled(listings.nin(), 0.25), "--resize 96 --width 0.25 --optimizer adam --lr 0.0005 --batch-size 32 --init xavier"),
    "googlenet": (
        lambda: scaled(tv.googlenet(num_classes=10, aux_logits=False, transform_input=False, init_weights=False), 0.25),
        f"--resize 64 --width 0.25 --init xavier {SGD}"),
    "resnet18": (lambda: scaled(tv.resnet18(num_classes=10), 0.25), f"--resize 64 --width 0.25 --init xavier {SGD}"),
    "densenet_listing": (lambda: scaled(listings.densenet_listing(), 0.5), f"--resize 64 --width 0.5 --init xavier {SGD}"),
    "mobilenet": (lambda: listings.MobileNet(1, 10, 0.5), f"--resize 64 --width 0.5 {SGD}"),
    "mobilenet_v2": (lambda: one_channel(tv.mobilenet_v2(num_classes=10, width_mult=0.5)), f"--resize 64 --width 0.5 {SGD}"),
    # Its running statistics move by a hundredth a step, so that it needs many of them.
    "mobilenet_v3_small": (lambda: one_channel(tv.mobilenet_v3_small(num_classes=10)),
                           "--resize 64 " + SGD.replace("--batch-size 64", "--batch-size 32")),
}  # fmt: skip

SAME_START = {"nin"}


def parsed(text):
    parser = argparse.ArgumentParser()
    for name, default in {"resize": 28, "lr": 0.1, "momentum": 0, "weight-decay": 0, "label-smoothing": 0, "batch-size": 64}.items():
        parser.add_argument(f"--{name}", type=type(default) if name in ("resize", "batch-size") else float, default=default)
    for name in "optimizer", "schedule", "init":
        parser.add_argument(f"--{name}")
    return parser.parse_known_args(shlex.split(text))[0]


def fashion_mnist(part, count):
    folder = pathlib.Path(os.environ["LAMINA_DATA"]) / "fashion-mnist"

    def read(kind, header):
        for path in sorted(folder.glob(f"{part}-{kind}-ubyte*")):
            data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
            return numpy.frombuffer(data, numpy.uint8, offset=header)
        sys.exit(f"{folder}: no {part}-{kind}-ubyte")

    images = read("images-idx3", 16).reshape(-1, 1, 28, 28)[:count]
    return torch.from_numpy(images / numpy.float32(255)), torch.from_numpy(read("labels-idx1", 8)[:count].astype(numpy.int64))


def drawn(make, recipe, seed):
    """The network with its initial values."""
    torch.manual_seed(seed)
    net = make()
    if recipe.init == "xavier":
        for layer in net.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
    return net


def torch_accuracy(make, text, seed):
    """Of the test images, and the number of parameters."""
    recipe = parsed(text)
    net = drawn(make, recipe, seed)
    weights = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0}]
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, lr=recipe.lr)
    else:
        optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS) if recipe.schedule == "cosine" else None

    def prepared(batch):
        side = recipe.resize
        return batch if side == 28 else F.interpolate(batch, (side, side), mode="bilinear", align_corners=False)

    images, labels = fashion_mnist("train", TRAIN)
    for _ in range(EPOCHS):
        net.train()
        for batch in torch.randperm(TRAIN).split(recipe.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(net(prepared(images[batch])), labels[batch], label_smoothing=recipe.label_smoothing).backward()
            optimizer.step()
        if schedule:
            schedule.step()
    net.eval()
    images, labels = fashion_mnist("t10k", TEST)
    with torch.no_grad():
        right = sum(int((net(prepared(x)).argmax(1) == y).sum()) for x, y in zip(images.split(250), labels.split(250)))
    return right / TEST, sum(p.numel() for p in net.parameters())


def lamina_accuracy(program, name, text, seed, threads):
    with tempfile.TemporaryDirectory() as out:
        command = [program, "--model", name, *shlex.split(text), "--dataset", "fashion-mnist", "--epochs", str(EPOCHS),
                   "--limit-train", str(TRAIN), "--limit-test", str(TEST), "--checkpoint-every", "0", "--seed", str(seed),
                   "--threads", str(threads), "--out", out]  # fmt: skip
        if name in SAME_START:
            write_safetensors(f"{out}/start", drawn(RECIPES[name][0], parsed(text), seed).state_dict())
            command += ["--weights", f"{out}/start"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = json.loads(pathlib.Path(out, "metrics.json").read_text())
    model = metrics["models"][0]
    return model["results"]["test_accuracy"], model["parameters"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(RECIPES), metavar="MODEL,...")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0], metavar="N,...")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    for name in options.only:
        if name not in RECIPES:
            parser.error(f"--only: {name} is none of {', '.join(RECIPES)}")
    if "LAMINA_DATA" not in os.environ:
        sys.exit("set LAMINA_DATA to the folder with fashion-mnist/")
    torch.set_num_threads(options.threads)
    print("| network | options | parameters | Lamina | PyTorch |\n| --- | --- | ---: | ---: | ---: |")
    for name in options.only:
        make, text = RECIPES[name]
        start = time.time()
        ours = [lamina_accuracy(options.program, name, text, seed, options.threads) for seed in options.seeds]
        middle = time.time()
        theirs = [torch_accuracy(make, text, seed) for seed in options.seeds]
        if ours[0][1] != theirs[0][1]:
            sys.exit(f"{name}: {ours[0][1]} parameters, PyTorch's has {theirs[0][1]}")
        show = [", ".join(f"{accuracy:.3f}" for accuracy, _ in side) for side in (ours, theirs)]
        print(f"| {name} | `{text}` | {ours[0][1]:,} | {show[0]} | {show[1]} |", flush=True)
        print(f"{name}: {middle - start:.0f} s, PyTorch {time.time() - middle:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Makes the golden values of Lamina's layers and losses with PyTorch, a safetensors file per area beside this script.

    tests/golden/make_layers.py            writes activations.safetensors, convolution.safetensors, ...
    tests/golden/make_layers.py --check    makes them again in memory and compares: same entries, shapes and metadata,
                                           values within 1e-12 of the largest; exit status 1 names what differs
    tests/golden/make_layers.py --list     prints every case

Needs PyTorch only (Debian 12: apt install python3-torch, version 1.13, run by /usr/bin/python3). Everything is computed
in float64. Inputs and parameters are float32 numbers drawn by Python's random from the case's name, so they are the
same on every machine, a new case changes no other, and a float test sees exactly the input that PyTorch saw.

The entries of a layer's case "conv2d/stride":
    x, y, dy, dx        input, result of training-mode forward, incoming gradient, gradient for the input
    state.KEY           state_dict before forward
    grad.KEY            gradient of the parameter
    after.KEY           the buffers after forward (running statistics)
    infer               result in evaluation mode after that forward, where it is not y
Losses have x, target, value, grad and their weights. The file's metadata maps each case to PyTorch's text for it.
"""

import argparse
import json
import math
import pathlib
import random
import struct
import sys
import warnings
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
DTYPES = {torch.float64: ("F64", "d"), torch.int64: ("I64", "q")}


def write_safetensors(tensors, metadata):
    """The bytes of a safetensors file: header length, JSON header padded to 8 bytes, little-endian data."""
    header, data = {"__metadata__": metadata}, b""
    for key, tensor in tensors.items():
        dtype, code = DTYPES[tensor.dtype]
        values = tensor.detach().reshape(-1).tolist()
        chunk = struct.pack(f"<{len(values)}{code}", *values)
        header[key] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(chunk)]}
        data += chunk
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(content):
    """(tensors as (dtype, shape, values), metadata) of what write_safetensors wrote."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    codes = {dtype: code for dtype, code in DTYPES.values()}
    tensors = {}
    for key, entry in header.items():
        begin, end = entry["data_offsets"]
        values = struct.unpack_from(f"<{(end - begin) // 8}{codes[entry['dtype']]}", content, 8 + length + begin)
        tensors[key] = (entry["dtype"], entry["shape"], values)
    return tensors, metadata


class Draw:
    """Random tensors that depend on the name only."""

    def __init__(self, name):
        self.random = random.Random(name)

    def _tensor(self, shape, draw):
        count = math.prod(shape)
        single = struct.unpack(f"<{count}f", struct.pack(f"<{count}f", *(draw() for _ in range(count))))
        return torch.tensor(single, dtype=torch.float64).reshape(shape)

    def normal(self, shape, scale=1.0):
        return self._tensor(shape, lambda: self.random.gauss(0, scale))

    def uniform(self, shape, low=0.0, high=1.0):
        return self._tensor(shape, lambda: self.random.uniform(low, high))

    def labels(self, shape, classes):
        values = [self.random.randrange(classes) for _ in range(math.prod(shape))]
        return torch.tensor(values, dtype=torch.int64).reshape(shape)

    def fill(self, module):
        """Every parameter and buffer of the module, so that no value is left at a default that hides an error."""
        module.double()
        for key, value in module.state_dict().items():
            if key.endswith("num_batches_tracked"):
                value.fill_(5)
            elif key.endswith("running_var"):
                value.copy_(self.uniform(value.shape, 0.5, 2.0))
            else:
                value.copy_(self.normal(value.shape, 0.5))


class Fixture:
    """What one file holds."""

    def __init__(self):
        self.tensors, self.metadata = {}, {}

    def add(self, case, **tensors):
        for key, value in tensors.items():
            self.tensors[f"{case}/{key}"] = torch.as_tensor(value).detach().clone()

    def name(self, case, text):
        assert case not in self.metadata, case
        self.metadata[case] = " ".join(text.split())

    def layer(self, case, module, x):
        """One case of a layer; x is its input or the shape of one."""
        draw = Draw(case)
        self.name(case, str(module))
        x = draw.normal(x) if isinstance(x, tuple) else x.double()
        draw.fill(module)
        self.add(case, x=x, **{f"state.{key}": value for key, value in module.state_dict().items()})

        x = x.clone().requires_grad_()
        y = module.train()(x)
        dy = draw.normal(tuple(y.shape))
        y.backward(dy)
        self.add(case, y=y, dy=dy, dx=x.grad)
        self.add(case, **{f"grad.{key}": value.grad for key, value in module.named_parameters()})
        self.add(case, **{f"after.{key}": value for key, value in module.named_buffers()})

        with torch.no_grad():
            infer = module.eval()(x)
        if not torch.equal(infer, y):
            self.add(case, infer=infer)

    def loss(self, case, function, x, target, **options):
        """One case of a loss function; tensors among the options are stored under their names."""
        draw = Draw(case)
        shown = {key: "..." if isinstance(value, torch.Tensor) else value for key, value in options.items()}
        self.name(case, f"{function.__name__}({', '.join(f'{key}={value!r}' for key, value in shown.items())})")
        x = (draw.normal(x, 2.0) if isinstance(x, tuple) else x.double()).clone().requires_grad_()
        value = function(x, target, **options)
        value.sum().backward()
        self.add(case, x=x, target=target, value=value, grad=x.grad)
        self.add(case, **{key: value for key, value in options.items() if isinstance(value, torch.Tensor)})


AREAS = {}


def area(function):
    AREAS[function.__name__] = function
    return function


# --- layers -----------------------------------------------------------------------------------------------------------


class Hardsigmoid(nn.Module):
    """nn.Hardsigmoid, whose own backward multiplies by the float 1.0f / 6, in float64 too."""

    def forward(self, x):
        return F.relu6(x + 3) / 6


class HardsigmoidOf(nn.Module):
    """ONNX's HardSigmoid."""

    def __init__(self, alpha, beta):
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, x):
        return (self.alpha * x + self.beta).clamp(0, 1)


class Gated(nn.Module):
    """f of the first half times g of the second."""

    def __init__(self, first, second, dim=-1):
        super().__init__()
        self.first, self.second, self.dim = first, second, dim

    def forward(self, x):
        a, b = x.chunk(2, self.dim)
        return self.first(a) * self.second(b)


@area
def activations(f):
    # Where the pieces of the piecewise functions meet, and where exp overflows or underflows.
    kinks = torch.tensor([-6.5, -6, -3.5, -3, -1, -0.5, 0.0, 0.5, 1, 3, 3.5, 6, 6.5], dtype=torch.float64)
    tails = torch.tensor([-1000, -100, -40, -20, -10, -5, -0.5, 5, 10, 20, 40, 100, 1000], dtype=torch.float64)
    small = torch.tensor([-3e-4, -1e-4, -2e-5, -1e-8, -1e-20, 0.0, 1e-12, 1e-6, 5e-5, 2e-4])
    layers = {
        "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": nn.LeakyReLU,
        "leaky_relu_0.2": lambda: nn.LeakyReLU(0.2), "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
        "silu": nn.SiLU, "hardsigmoid": Hardsigmoid, "hardswish": nn.Hardswish, "elu": nn.ELU,
        "elu_0.3": lambda: nn.ELU(0.3), "selu": nn.SELU, "softplus": nn.Softplus,
        "softplus_2": lambda: nn.Softplus(beta=2, threshold=5), "mish": nn.Mish, "hardtanh": nn.Hardtanh,
        "hardtanh_3": lambda: nn.Hardtanh(-3, 3.5), "prelu": nn.PReLU,
    }  # fmt: skip
    for name, make in layers.items():
        f.layer(f"{name}/random", make(), Draw(name).normal((2, 3, 3, 5), 3.0))
        f.layer(f"{name}/kinks", make(), kinks)
        f.layer(f"{name}/tails", make(), tails)
        f.layer(f"{name}/small", make(), small)
    for name, make in {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}.items():
        f.layer(f"{name}/rank1", make(dim=0), (9,))
        f.layer(f"{name}/rows", make(dim=-1), (4, 7))
        f.layer(f"{name}/columns", make(dim=0), (5, 3))
        for dim in range(4):
            f.layer(f"{name}/rank4_dim{dim}", make(dim=dim), (2, 3, 4, 5))
        f.layer(f"{name}/one", make(dim=1), (3, 1, 2))
        f.layer(f"{name}/long", make(dim=-1), (2, 70))
        f.layer(f"{name}/large", make(dim=-1), torch.tensor([[1000, 999, 998.5, -1000], [-1e4, -1e4, -1e4 - 1, -1e30]]))
    f.layer("prelu/channels", nn.PReLU(3), (2, 3, 4, 5))
    f.layer("prelu/features", nn.PReLU(19), (7, 19))
    f.layer("glu/last", nn.GLU(), (3, 4, 6))
    f.layer("glu/channels", nn.GLU(1), (2, 6, 3, 5))
    f.layer("glu/first", nn.GLU(0), (4, 3))
    f.layer("swiglu/last", Gated(nn.Identity(), nn.SiLU()), (3, 4, 38))
    f.layer("swiglu/channels", Gated(nn.Identity(), nn.SiLU(), 1), (2, 6, 3, 5))
    f.layer("geglu/last", Gated(nn.Identity(), nn.GELU()), (3, 4, 38))
    f.layer("geglu/tanh", Gated(nn.Identity(), nn.GELU(approximate="tanh"), 0), (4, 7))
    f.layer("gated/llama", Gated(nn.SiLU(), nn.Identity()), (3, 38))
    f.layer("gated/pixelcnn", Gated(nn.Tanh(), nn.Sigmoid(), 1), (2, 6, 3, 5))
    f.layer("gated/relu_gelu", Gated(nn.ReLU(), nn.GELU(), 1), (2, 6, 3, 5))
    for name, (alpha, beta) in {"keras": (0.2, 0.5), "steep": (1.5, -0.25)}.items():
        f.layer(f"hardsigmoid/{name}", HardsigmoidOf(alpha, beta), Draw(name).normal((2, 3, 3, 5), 3.0))
        f.layer(f"hardsigmoid/{name}_tails", HardsigmoidOf(alpha, beta), tails)
    f.layer("softmax/masked", nn.Softmax(dim=-1), torch.tensor([[0.5, -math.inf, 1.5], [-math.inf, -math.inf, 2]]))


class DropPath(nn.Module):
    """Stochastic depth as timm has it: each sample is kept with probability 1 - p, and then divided by that."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def extra_repr(self):
        return f"p={self.p}"

    def forward(self, x):
        keep = 1 - self.p
        noise = x.new_empty([len(x)] + [1] * (x.dim() - 1)).bernoulli_(keep)
        return x if not self.training else x * (noise / keep if keep > 0 else noise)


class Mean(nn.Module):
    """x.mean(dim)."""

    def __init__(self, dim, keepdim):
        super().__init__()
        self.dim, self.keepdim = dim, keepdim

    def forward(self, x):
        return x.mean(self.dim, keepdim=self.keepdim)


@area
def shapes(f):
    """Layers that rearrange or drop; dropout is deterministic for p = 0, for p = 1 and in evaluation."""
    f.layer("flatten/images", nn.Flatten(), (2, 3, 4, 5))
    f.layer("flatten/rank2", nn.Flatten(), (3, 5))
    f.layer("flatten/all", nn.Flatten(0), (2, 3, 4))
    f.layer("flatten/middle", nn.Flatten(1, 2), (2, 3, 4, 5))
    f.layer("flatten/last", nn.Flatten(-2, -1), (2, 3, 4, 5))
    for name, make in {"dropout": nn.Dropout, "dropout2d": nn.Dropout2d}.items():
        f.layer(f"{name}/p0", make(0.0), (2, 3, 2, 4))
        f.layer(f"{name}/p1", make(1.0), (2, 3, 2, 4))
    f.layer("identity/rank3", nn.Identity(), (2, 3, 4))
    f.layer("drop_path/p0", DropPath(0.0), (2, 3, 4))
    f.layer("drop_path/p1", DropPath(1.0), (2, 3, 4))
    f.layer("unflatten/channels", nn.Unflatten(1, (2, 3)), (2, 6, 4))
    f.layer("unflatten/rest", nn.Unflatten(-1, (3, -1)), (2, 6))
    f.layer("pixel_shuffle/2", nn.PixelShuffle(2), (2, 8, 3, 5))
    f.layer("pixel_shuffle/3", nn.PixelShuffle(3), (1, 9, 2, 19))
    f.layer("pad2d/zero", nn.ZeroPad2d(2), (2, 3, 4, 5))
    f.layer("pad2d/zero_sides", nn.ZeroPad2d((1, 2, 3, 0)), (2, 3, 4, 5))
    f.layer("pad2d/constant", nn.ConstantPad2d((0, 3, 1, 2), -1.5), (2, 3, 4, 5))
    f.layer("pad2d/reflection", nn.ReflectionPad2d(3), (2, 3, 4, 5))
    f.layer("pad2d/reflection_sides", nn.ReflectionPad2d((4, 0, 1, 3)), (1, 2, 4, 5))
    f.layer("pad2d/replication", nn.ReplicationPad2d((6, 1, 0, 7)), (2, 3, 4, 5))
    for mode in ("nearest", "bilinear"):
        for factor in (2, 3, 0.5, 0.6, (1.7, 0.4), 2.5):
            f.layer(f"upsample/{mode}_{factor}", nn.Upsample(scale_factor=factor, mode=mode), (2, 2, 5, 7))
    f.layer("upsample/corners", nn.Upsample(scale_factor=1.7, mode="bilinear", align_corners=True), (2, 2, 5, 7))
    for mode in ("bicubic", "nearest-exact"):
        for factor in (2, 3, 0.5, 0.6, (1.7, 0.4), 2.5):
            f.layer(f"upsample/{mode}_{factor}", nn.Upsample(scale_factor=factor, mode=mode), (2, 2, 5, 7))
        for size in ((9, 3), (5, 20), (1, 7)):
            f.layer(f"upsample/{mode}_to_{size}", nn.Upsample(size, mode=mode), (2, 2, 5, 7))
    f.layer("upsample/bicubic_corners", nn.Upsample(scale_factor=1.7, mode="bicubic", align_corners=True), (2, 2, 5, 7))
    f.layer("upsample/bicubic_one_corner", nn.Upsample((1, 9), mode="bicubic", align_corners=True), (1, 2, 5, 2))
    for dim, keepdim in ((1, False), (1, True), (-1, False), (0, False), (2, True)):
        f.layer(f"mean/{dim}_{keepdim}", Mean(dim, keepdim), (3, 5, 19))
    case, ids = "embedding/padding_idx", Draw("embedding").labels((3, 7), 5)
    layer = nn.Embedding(5, 4, padding_idx=2)
    Draw(case).fill(layer)
    y = layer(ids)
    dy = Draw(case).normal(tuple(y.shape))
    y.backward(dy)
    f.name(case, str(layer))
    f.add(case, ids=ids, y=y, dy=dy, **{"state.weight": layer.weight, "grad.weight": layer.weight.grad})


@area
def linear(f):
    f.layer("linear/rank2", nn.Linear(5, 4), (3, 5))
    f.layer("linear/rank1", nn.Linear(5, 4), (5,))
    f.layer("linear/rank3", nn.Linear(6, 3), (2, 4, 6))
    f.layer("linear/rank4", nn.Linear(3, 5), (2, 2, 3, 3))
    f.layer("linear/no_bias", nn.Linear(7, 2, bias=False), (4, 7))
    f.layer("linear/one_in", nn.Linear(1, 6), (5, 1))
    f.layer("linear/one_out", nn.Linear(9, 1), (5, 9))
    f.layer("linear/batch1", nn.Linear(8, 8), (1, 8))
    f.layer("linear/wide", nn.Linear(33, 19), (17, 33))


class Padded(nn.Module):
    """A convolution with its own amount of zeros on each side (top, bottom, left, right), with Conv2d's keys."""

    def __init__(self, padding, convolution):
        super().__init__()
        self.padding, self.convolution = padding, convolution
        self.weight, self.bias = convolution.weight, convolution.bias

    def state_dict(self, *args, **kwargs):
        return self.convolution.state_dict()

    def named_parameters(self, *args, **kwargs):
        return self.convolution.named_parameters()

    def extra_repr(self):
        return f"padding={self.padding}"

    def forward(self, x):
        top, bottom, left, right = self.padding
        return self.convolution(F.pad(x, (left, right, top, bottom)))


@area
def convolution(f):
    def conv(case, x, *args, **kwargs):
        f.layer(f"conv2d/{case}", nn.Conv2d(*args, **kwargs), x)

    conv("plain", (2, 3, 5, 6), 3, 4, 3)
    conv("no_bias", (2, 2, 5, 5), 2, 3, 3, bias=False)
    conv("one_channel", (2, 1, 6, 7), 1, 3, 5, padding=2)
    conv("window_is_image", (3, 2, 3, 4), 2, 5, (3, 4))
    # 1x1
    conv("1x1", (2, 5, 3, 4), 5, 3, 1)
    conv("1x1_stride", (2, 3, 5, 4), 3, 4, 1, stride=2, bias=False)
    conv("1x1_padding", (1, 3, 3, 4), 3, 2, 1, padding=1)
    conv("1x1_groups", (2, 6, 3, 3), 6, 4, 1, groups=2)
    # stride, padding, dilation, rectangular
    conv("stride", (2, 3, 7, 9), 3, 4, 3, stride=2)
    conv("stride_padding", (2, 3, 7, 8), 3, 4, 3, stride=2, padding=1)
    conv("stride_beyond_window", (2, 2, 8, 7), 2, 3, 2, stride=3)
    conv("stride_rectangular", (1, 2, 9, 8), 2, 3, (3, 2), stride=(2, 3), padding=(1, 0))
    conv("padding_rectangular", (2, 2, 4, 5), 2, 3, (3, 5), padding=(1, 2))
    conv("padding_beyond_half", (1, 2, 4, 3), 2, 3, 3, padding=3)
    conv("padding_1x7", (1, 3, 4, 8), 3, 2, (1, 7), padding=(0, 3))
    conv("padding_7x1", (1, 3, 8, 4), 3, 2, (7, 1), padding=(3, 0))
    conv("dilation", (2, 2, 7, 8), 2, 3, 3, dilation=2)
    conv("dilation_padding", (2, 2, 6, 7), 2, 3, 3, dilation=2, padding=2)
    conv("dilation_rectangular_stride", (1, 2, 9, 10), 2, 3, (3, 2), dilation=(2, 3), stride=(2, 1), padding=(2, 1))
    conv("first_of_alexnet", (1, 3, 15, 15), 3, 4, 11, stride=4, padding=2)
    # "same": even windows put the odd zero below and to the right
    conv("same_3", (2, 2, 5, 6), 2, 3, 3, padding="same")
    conv("same_2", (2, 2, 5, 6), 2, 3, 2, padding="same")
    conv("same_4x5", (1, 2, 6, 7), 2, 3, (4, 5), padding="same")
    conv("same_4_dilation", (1, 2, 8, 7), 2, 3, 4, padding="same", dilation=(1, 3))
    conv("same_groups", (1, 4, 5, 5), 4, 4, 2, padding="same", groups=2)
    def tensorflow(case, x, *args, **kwargs):
        """The zeros of TensorFlow's SAME."""
        layer = nn.Conv2d(*args, **kwargs)
        sides = []
        for n, k, s, d in zip(x[2:], layer.kernel_size, layer.stride, layer.dilation):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            sides += [total // 2, total - total // 2]
        f.layer(f"conv2d/{case}", Padded(tuple(sides), layer), x)

    tensorflow("tensorflow_same", (2, 3, 8, 7), 3, 4, 3, stride=2)
    tensorflow("tensorflow_same_7", (1, 3, 14, 15), 3, 4, 7, stride=2)
    tensorflow("tensorflow_same_rectangular", (2, 2, 9, 10), 2, 3, (2, 5), stride=(3, 2), dilation=(2, 1))
    tensorflow("tensorflow_same_depthwise", (2, 4, 6, 6), 4, 4, 3, stride=2, groups=4)

    def conv1d(case, x, *args, **kwargs):
        f.layer(f"conv1d/{case}", nn.Conv1d(*args, **kwargs), x)

    conv1d("plain", (2, 3, 9), 3, 4, 3)
    conv1d("no_bias", (2, 2, 5), 2, 3, 5, bias=False)
    conv1d("stride_padding", (2, 3, 10), 3, 4, 4, stride=3, padding=2)
    conv1d("dilation", (1, 2, 19), 2, 3, 3, dilation=4, padding=4)
    conv1d("same", (2, 2, 7), 2, 3, 4, padding="same")
    conv1d("groups", (2, 6, 8), 6, 4, 3, groups=2)
    conv1d("depthwise", (2, 5, 8), 5, 5, 3, groups=5, padding=1)
    conv1d("blocks", (2, 17, 37), 17, 33, 3, padding=1)

    def transposed(case, x, *args, **kwargs):
        f.layer(f"conv_transpose2d/{case}", nn.ConvTranspose2d(*args, **kwargs), x)

    transposed("plain", (2, 3, 4, 5), 3, 4, 3)
    transposed("no_bias", (2, 3, 4, 5), 3, 2, 2, bias=False)
    transposed("stride", (2, 3, 4, 5), 3, 4, 2, stride=2)
    transposed("stride_padding", (2, 4, 4, 3), 4, 3, 4, stride=2, padding=1)
    transposed("output_padding", (1, 2, 4, 5), 2, 3, 3, stride=2, padding=1, output_padding=1)
    transposed("output_padding_of_dilation", (1, 2, 4, 5), 2, 3, 3, dilation=2, output_padding=1)
    transposed("rectangular", (2, 2, 3, 4), 2, 3, (2, 3), stride=(1, 3), padding=(0, 1), output_padding=(0, 2))
    transposed("dilation", (2, 2, 4, 5), 2, 3, 3, stride=2, dilation=2, padding=2)
    transposed("groups", (2, 6, 3, 4), 6, 4, 3, stride=2, groups=2)
    transposed("depthwise", (1, 4, 3, 5), 4, 4, 4, stride=2, padding=1, groups=4)
    transposed("blocks", (1, 17, 7, 9), 17, 19, 4, stride=2, padding=1)
    f.layer("conv2d/four_paddings", Padded((2, 0, 1, 3), nn.Conv2d(2, 3, 3, stride=2)), (2, 2, 5, 6))
    # groups and depthwise
    conv("groups", (2, 4, 5, 6), 4, 6, 3, groups=2, padding=1)
    conv("groups_stride", (2, 6, 5, 5), 6, 3, 3, groups=3, stride=2, bias=False)
    conv("depthwise", (2, 4, 5, 6), 4, 4, 3, groups=4, padding=1)
    conv("depthwise_wide", (1, 3, 4, 19), 3, 3, 3, groups=3, padding=1, bias=False)
    conv("depthwise_stride", (2, 3, 7, 8), 3, 3, 3, groups=3, stride=2, padding=1)
    conv("depthwise_5", (1, 3, 7, 6), 3, 3, 5, groups=3, padding=2)
    conv("depthwise_dilation", (1, 3, 8, 7), 3, 3, 3, groups=3, padding=2, dilation=2)
    conv("depthwise_multiplier", (2, 3, 5, 5), 3, 6, 3, groups=3, padding=1)
    conv("depthwise_rectangular", (1, 2, 5, 9), 2, 2, (1, 5), groups=2, padding=(0, 2), stride=(1, 2))
    # enough channels and pixels for the blocked kernels and their remainders
    conv("3x3_blocks", (1, 9, 11, 10), 9, 17, 3, padding=1, bias=False)
    conv("3x3_batch", (3, 8, 6, 7), 8, 8, 3)
    conv("5x5_blocks", (1, 6, 9, 13), 6, 13, 5, padding=2)
    conv("3x3_winograd", (2, 16, 9, 13), 16, 17, 3, padding=1)
    conv("5x5_winograd", (1, 16, 7, 6), 16, 16, 5, padding=2)
    conv("3x3_stride_blocks", (2, 16, 9, 8), 16, 17, 3, stride=2, padding=1)


class Involution(nn.Module):
    """Involution by unfolding, with the keys of the paper's program; innermost: the Keras listing's, whose zeros around
    the image are those of TensorFlow's SAME."""

    def __init__(self, channels, kernel, groups=1, stride=1, reduction=4, dilation=1, innermost=False, bias=False,
                 features=None, **norm):  # fmt: skip
        super().__init__()
        features = features or channels // reduction
        self.stride, self.reach = stride, (kernel - 1) * dilation
        self.kernel, self.groups, self.innermost = kernel, groups, innermost
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.conv1 = nn.Sequential()
        self.conv1.add_module("conv", nn.Conv2d(channels, features, 1, bias=bias))
        self.conv1.add_module("bn", nn.BatchNorm2d(features, **norm))
        self.conv2 = nn.Sequential()
        self.conv2.add_module("conv", nn.Conv2d(features, kernel**2 * groups, 1))
        self.unfold = nn.Unfold(kernel, dilation, 0 if innermost else self.reach // 2, stride)

    def same(self, x):
        """x with the zeros of padding="SAME", of which the odd one is behind."""
        zeros = []
        for size in (x.shape[3], x.shape[2]):
            all_ = max(0, ((size - 1) // self.stride) * self.stride + self.reach + 1 - size)
            zeros += [all_ // 2, all_ - all_ // 2]
        return F.pad(x, zeros)

    def extra_repr(self):
        return f"groups={self.groups}, innermost={self.innermost}"

    def forward(self, x):
        taps = self.kernel**2
        weight = self.conv2(self.conv1(self.pool(x)).relu())
        n, _, h, w = weight.shape
        if self.innermost:  # [N, K K, 1, G, H, W] and [N, K K, C / G, G, H, W]
            patches = self.unfold(self.same(x)).view(n, -1, self.groups, taps, h, w).permute(0, 3, 1, 2, 4, 5)
            return (weight.view(n, taps, 1, self.groups, h, w) * patches).sum(1).flatten(1, 2)
        patches = self.unfold(x).view(n, self.groups, -1, taps, h, w)
        return (weight.view(n, self.groups, 1, taps, h, w) * patches).sum(3).flatten(1, 2)


class InvolutionBottleneck(nn.Module):
    """RedNet's."""

    def __init__(self, inputs, channels, stride, groups):
        super().__init__()
        out = 4 * channels
        self.conv1, self.bn1 = nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = Involution(channels, 7, groups, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


def inn(side):
    """The network of the Keras listing."""
    net = nn.Sequential()
    for i in (1, 2, 3):
        listing = {"reduction": 2, "innermost": True, "bias": True, "eps": 1e-3, "momentum": 0.01}
        net.add_module(f"inv_{i}", Involution(3, 3, **listing))
        net.add_module(f"relu_{i}", nn.ReLU())
        if i < 3:
            net.add_module(f"pool_{i}", nn.MaxPool2d(2))
    net.add_module("flatten", nn.Flatten())
    net.add_module("dense", nn.Linear(3 * (side // 4) ** 2, 64))
    net.add_module("relu", nn.ReLU())
    net.add_module("dense_1", nn.Linear(64, 10))
    return net


@area
def involution(f):
    def case(name, x, kernel, **options):
        f.layer(f"involution/{name}", Involution(x[1], kernel, **options), x)

    case("plain", (2, 4, 5, 6), 3)
    case("1x1", (2, 4, 3, 4), 1)
    case("5x5", (2, 4, 6, 7), 5, reduction=2)
    case("7x7", (1, 16, 7, 7), 7, groups=2)
    case("groups", (2, 6, 5, 5), 3, groups=3, reduction=2)
    case("depthwise", (2, 4, 4, 5), 3, groups=4, reduction=1)
    case("many_channels", (1, 19, 6, 5), 3, reduction=9)
    case("stride", (2, 4, 6, 8), 3, stride=2)
    case("stride_odd", (2, 4, 7, 9), 5, stride=2, groups=2)
    case("stride_3", (2, 4, 7, 8), 3, stride=3, reduction=1)
    case("dilation", (2, 4, 7, 6), 3, dilation=2)
    case("dilation_stride", (1, 4, 9, 8), 3, dilation=3, stride=2)
    case("wide", (1, 4, 3, 38), 3, groups=2)
    case("wide_stride", (1, 4, 4, 37), 3, stride=2)
    case("bias", (2, 4, 5, 5), 3, bias=True, eps=1e-3, momentum=0.01)
    case("innermost", (2, 6, 5, 6), 3, groups=2, reduction=2, innermost=True)
    case("innermost_3", (2, 6, 4, 5), 5, groups=3, reduction=3, innermost=True)
    case("innermost_stride", (2, 6, 7, 5), 3, groups=3, stride=2, reduction=1, innermost=True)
    case("listing", (2, 3, 8, 8), 3, reduction=2, innermost=True, bias=True)
    case("innermost_even", (2, 6, 8, 7), 5, groups=3, stride=2, reduction=1, innermost=True)
    case("innermost_stride_3", (1, 4, 9, 8), 3, groups=2, stride=3, reduction=1, innermost=True)
    case("listing_features", (2, 3, 6, 8), 5, stride=2, innermost=True, bias=True, features=8)
    f.layer("rednet/bottleneck", InvolutionBottleneck(6, 8, 2, 2), (2, 6, 8, 7))
    f.layer("inn/model", inn(8), (3, 3, 8, 8))


class PaddedPool(nn.Module):
    """A pooling with its own amount of a value on each side (top, bottom, left, right)."""

    def __init__(self, padding, pool, value=0.0):
        super().__init__()
        self.padding, self.value, self.pool = padding, value, pool

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"

    def forward(self, x):
        top, bottom, left, right = self.padding
        return self.pool(F.pad(x, (left, right, top, bottom), value=self.value))


@area
def pooling(f):
    def pool(case, make, x, *args, **kwargs):
        f.layer(case, make(*args, **kwargs), x)

    for name, make in {"max_pool2d": nn.MaxPool2d, "avg_pool2d": nn.AvgPool2d}.items():
        pool(f"{name}/plain", make, (2, 3, 4, 6), 2)
        pool(f"{name}/remainder", make, (2, 2, 5, 7), 2)
        pool(f"{name}/rectangular", make, (2, 2, 6, 7), (2, 3))
        pool(f"{name}/overlapping", make, (2, 2, 7, 8), 3, stride=2)
        pool(f"{name}/stride_1", make, (1, 2, 5, 6), 3, stride=1, padding=1)
        pool(f"{name}/stride_beyond_window", make, (1, 2, 7, 8), 2, stride=3)
        pool(f"{name}/padding", make, (2, 2, 6, 7), 3, stride=2, padding=1)
        pool(f"{name}/padding_rectangular", make, (1, 2, 6, 9), (2, 5), stride=(1, 3), padding=(1, 2))
        pool(f"{name}/ceil", make, (2, 2, 6, 7), 3, stride=2, ceil_mode=True)
        pool(f"{name}/ceil_padding", make, (2, 2, 6, 8), 3, stride=2, padding=1, ceil_mode=True)
        # The last window would start in the padding and is left out.
        pool(f"{name}/ceil_dropped", make, (1, 2, 4, 5), 2, stride=3, padding=1, ceil_mode=True)
        pool(f"{name}/whole_image", make, (2, 3, 4, 5), (4, 5))
        pool(f"{name}/wide", make, (1, 1, 4, 38), 2)
    pool("max_pool2d/dilation", nn.MaxPool2d, (1, 2, 7, 8), 3, stride=1, dilation=2)
    pool("max_pool2d/dilation_padding_ceil", nn.MaxPool2d, (1, 2, 8, 9), (2, 3), stride=2, padding=1, dilation=(3, 2),
         ceil_mode=True)  # fmt: skip
    f.layer("max_pool2d/negative_padding", nn.MaxPool2d(3, 2, 1), -Draw("negative").uniform((1, 2, 5, 5), 1, 2))
    f.layer("max_pool2d/ties", nn.MaxPool2d(2, 1), torch.ones(1, 1, 4, 4))
    for case, options in {"plain": {}, "padding": {"stride": 2, "padding": 1}, "dilation": {"stride": 1, "dilation": 2},
                          "ceil": {"stride": 3, "padding": 1, "ceil_mode": True}}.items():  # fmt: skip
        x = Draw(case).normal((2, 3, 7, 9))
        y, indices = F.max_pool2d(x, (2, 3), return_indices=True, **options)
        f.name(f"max_pool2d/indices_{case}", f"max_pool2d((2, 3), {options}, return_indices=True)")
        f.add(f"max_pool2d/indices_{case}", x=x, y=y, indices=indices)
    pool("avg_pool2d/exclude_padding", nn.AvgPool2d, (2, 2, 6, 7), 3, stride=2, padding=1, count_include_pad=False)
    pool("avg_pool2d/exclude_padding_ceil", nn.AvgPool2d, (2, 2, 6, 8), 3, stride=2, padding=1, ceil_mode=True,
         count_include_pad=False)  # fmt: skip
    pool("avg_pool2d/divisor", nn.AvgPool2d, (1, 2, 5, 5), 3, stride=2, padding=1, divisor_override=5)
    f.layer("max_pool2d/sides", PaddedPool((0, 1, 1, 0), nn.MaxPool2d(3, 2), -math.inf), (2, 2, 8, 7))
    f.layer("max_pool2d/tensorflow_same", PaddedPool((0, 1, 1, 1), nn.MaxPool2d(3, 2), -math.inf), (2, 2, 8, 7))
    f.layer("avg_pool2d/sides", PaddedPool((0, 1, 1, 0), nn.AvgPool2d(3, 2)), (2, 2, 8, 7))
    for case, size in {"global": 1, "same_size": (4, 5), "even": (2, 5), "uneven": (3, 2), "larger": (5, 7),
                       "keep_one": (None, 2)}.items():  # fmt: skip
        pool(f"adaptive_max_pool2d/{case}", nn.AdaptiveMaxPool2d, (2, 2, 4, 5), size)
    pool("adaptive_avg_pool2d/global", nn.AdaptiveAvgPool2d, (2, 3, 4, 5), 1)
    pool("adaptive_avg_pool2d/same_size", nn.AdaptiveAvgPool2d, (1, 2, 3, 4), (3, 4))
    pool("adaptive_avg_pool2d/even", nn.AdaptiveAvgPool2d, (2, 2, 6, 8), (3, 4))
    pool("adaptive_avg_pool2d/uneven", nn.AdaptiveAvgPool2d, (1, 2, 7, 5), (3, 2))
    pool("adaptive_avg_pool2d/larger_than_image", nn.AdaptiveAvgPool2d, (1, 2, 3, 2), (5, 7))
    pool("adaptive_avg_pool2d/rectangular", nn.AdaptiveAvgPool2d, (1, 2, 5, 9), (1, 4))
    pool("adaptive_avg_pool2d/keep_one", nn.AdaptiveAvgPool2d, (1, 2, 5, 6), (None, 2))


class RMSNorm(nn.Module):
    """torch.nn.RMSNorm, which PyTorch has from 2.4 on."""

    def __init__(self, shape, eps=1e-6, elementwise_affine=True):
        super().__init__()
        self.shape, self.eps = (shape,) if isinstance(shape, int) else shape, eps
        self.weight = nn.Parameter(torch.ones(self.shape)) if elementwise_affine else None

    def extra_repr(self):
        return f"{self.shape}, eps={self.eps}"

    def forward(self, x):
        y = x * torch.rsqrt(x.square().mean([-1 - i for i in range(len(self.shape))], keepdim=True) + self.eps)
        return y if self.weight is None else y * self.weight


@area
def normalisation(f):
    def norm(case, make, x, *args, **kwargs):
        f.layer(case, make(*args, **kwargs), x)

    inputs = {"batch_norm1d": (7, 3), "batch_norm1d_rank3": (4, 3, 5), "batch_norm2d": (3, 3, 2, 4)}
    for name, shape in inputs.items():
        make = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        norm(f"{name}/default", make, shape, 3)
        norm(f"{name}/momentum", make, shape, 3, momentum=0.3, eps=1e-3)
        norm(f"{name}/cumulative", make, shape, 3, momentum=None)
        norm(f"{name}/plain", make, shape, 3, affine=False)
        norm(f"{name}/untracked", make, shape, 3, track_running_stats=False)
        norm(f"{name}/plain_untracked", make, shape, 3, affine=False, track_running_stats=False)
    norm("batch_norm2d/one_sample", nn.BatchNorm2d, (1, 2, 3, 3), 2)
    norm("batch_norm2d/wide", nn.BatchNorm2d, (2, 2, 3, 23), 2)
    offset = 1000 + Draw("large_mean").uniform((4, 2, 3, 3)).mul(1024).round() / 1024  # exact in float32, as all inputs
    f.layer("batch_norm2d/large_mean", nn.BatchNorm2d(2), offset)
    norm("layer_norm/last", nn.LayerNorm, (3, 7), 7)
    norm("layer_norm/tokens", nn.LayerNorm, (2, 4, 5), 5)
    norm("layer_norm/two_axes", nn.LayerNorm, (3, 4, 5), (4, 5))
    norm("layer_norm/image", nn.LayerNorm, (2, 3, 2, 4), (3, 2, 4))
    norm("layer_norm/eps", nn.LayerNorm, (3, 7), 7, eps=0.1)
    norm("layer_norm/plain", nn.LayerNorm, (3, 7), 7, elementwise_affine=False)
    norm("layer_norm/one_row", nn.LayerNorm, (9,), 9)
    norm("layer_norm/long", nn.LayerNorm, (2, 71), 71)

    norm("group_norm/default", nn.GroupNorm, (3, 6, 2, 4), 2, 6)
    norm("group_norm/one", nn.GroupNorm, (2, 4, 3, 3), 1, 4)
    norm("group_norm/each", nn.GroupNorm, (2, 4, 5), 4, 4)
    norm("group_norm/features", nn.GroupNorm, (5, 38), 2, 38)
    norm("group_norm/plain_eps", nn.GroupNorm, (2, 6, 3, 5), 3, 6, eps=0.1, affine=False)
    norm("group_norm/wide", nn.GroupNorm, (1, 4, 3, 23), 2, 4)
    norm("instance_norm2d/default", nn.InstanceNorm2d, (2, 3, 4, 5), 3)
    norm("instance_norm2d/affine", nn.InstanceNorm2d, (2, 3, 4, 5), 3, affine=True, eps=0.01)
    norm("instance_norm2d/tracked", nn.InstanceNorm2d, (2, 3, 4, 5), 3, track_running_stats=True)
    norm("instance_norm2d/affine_tracked", nn.InstanceNorm2d, (3, 2, 3, 19), 2, affine=True, momentum=0.3,
         track_running_stats=True)  # fmt: skip
    norm("rms_norm/last", RMSNorm, (3, 7), 7)
    norm("rms_norm/two_axes", RMSNorm, (3, 4, 5), (4, 5), eps=1e-3)
    norm("rms_norm/plain", RMSNorm, (2, 3, 71), 71, elementwise_affine=False)

    def local(case, x, *args, **kwargs):
        f.layer(f"local_response_norm/{case}", nn.LocalResponseNorm(*args, **kwargs), x)

    local("default", (2, 9, 3, 4), 5)
    local("paper", (2, 9, 3, 4), 5, alpha=5e-4, beta=0.75, k=2)
    local("strong", (2, 7, 3, 5), 3, alpha=1.5, beta=0.75, k=0.5)
    local("even", (1, 6, 2, 3), 4, alpha=1.0, beta=0.6, k=1.5)
    local("beta_1", (2, 5, 4, 19), 2, alpha=0.5, beta=1.0)
    local("one", (2, 3, 3, 3), 1, alpha=1.0)
    local("beyond_channels", (2, 3, 2, 2), 9, alpha=1.0)
    local("rank3", (2, 6, 7), 3, alpha=1.0)
    local("rank5", (1, 4, 2, 3, 2), 3, alpha=1.0)


# --- losses -----------------------------------------------------------------------------------------------------------


def sigmoid_focal_loss(x, target, alpha=0.25, gamma=2.0, reduction="mean"):
    """torchvision.ops.sigmoid_focal_loss."""
    p = x.sigmoid()
    right = p * target + (1 - p) * (1 - target)
    loss = F.binary_cross_entropy_with_logits(x, target, reduction="none") * (1 - right) ** gamma
    if alpha >= 0:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return {"mean": loss.mean, "sum": loss.sum, "none": lambda: loss}[reduction]()


def dice_loss(x, target, smooth=1e-5, ignore_index=-100, reduction="mean"):
    """MONAI's DiceLoss(to_onehot_y=True, softmax=True), with places that do not count."""
    counts = (target != ignore_index).unsqueeze(1)
    hits = F.one_hot(target.clamp(min=0), x.shape[1]).movedim(-1, 1) * counts
    p = x.softmax(1) * counts
    axes = list(range(2, x.dim()))
    both, total = (2 * p * hits, p + hits) if not axes else ((2 * p * hits).sum(axes), (p + hits).sum(axes))
    loss = 1 - (both + smooth) / (total + smooth)
    return loss.mean() if reduction == "mean" else loss.sum()


@area
def losses(f):
    draw = Draw("losses")
    weight = draw.uniform((5,), 0.2, 2.0)
    labels = draw.labels((6,), 5)

    def ce(case, x, target, **options):
        f.loss(f"cross_entropy/{case}", F.cross_entropy, x, target, **options)

    ce("mean", (6, 5), labels)
    ce("sum", (6, 5), labels, reduction="sum")
    ce("weight", (6, 5), labels, weight=weight)
    ce("weight_sum", (6, 5), labels, weight=weight, reduction="sum")
    ce("smoothing", (6, 5), labels, label_smoothing=0.1)
    ce("smoothing_sum", (6, 5), labels, label_smoothing=0.3, reduction="sum")
    ce("smoothing_weight", (6, 5), labels, label_smoothing=0.1, weight=weight)
    ce("smoothing_weight_sum", (6, 5), labels, label_smoothing=0.1, weight=weight, reduction="sum")
    ignoring = torch.tensor([0, -100, 4, 3, -100, 1])
    ce("ignored", (6, 5), ignoring)
    ce("ignored_sum", (6, 5), ignoring, reduction="sum")
    ce("ignored_class", (6, 5), torch.tensor([2, 2, 0, 1, 4, 2]), ignore_index=2)
    ce("ignored_255", (6, 5), torch.tensor([255, 2, 0, 255, 4, 2]), ignore_index=255)
    ce("ignored_smoothing_weight", (6, 5), ignoring, label_smoothing=0.2, weight=weight)
    ce("ignored_smoothing_weight_sum", (6, 5), ignoring, label_smoothing=0.2, weight=weight, reduction="sum")
    ce("large_logits", torch.tensor([[1000.0, 0, -1000], [-800, -801, -802], [3e4, 3e4, 0]]), torch.tensor([0, 1, 2]))
    ce("one_sample", (1, 4), torch.tensor([2]))
    ce("rank1", (4,), torch.tensor(2))
    ce("all_ignored", (2, 4), torch.tensor([-100, -100]))
    ce("all_ignored_sum", (2, 4), torch.tensor([-100, -100]), reduction="sum")
    ce("many_classes", (2, 70), torch.tensor([69, 0]))
    # any spatial rank
    ce("rank3", (2, 5, 3), draw.labels((2, 3), 5))
    ce("images", (2, 5, 3, 4), draw.labels((2, 3, 4), 5))
    holes = draw.labels((2, 3, 4), 5)
    holes[0, 1, 2] = holes[1, 0, 0] = holes[1, 2, 3] = -100
    ce("images_ignored_weight", (2, 5, 3, 4), holes, weight=weight)
    ce("images_ignored_smoothing", (2, 5, 3, 4), holes, label_smoothing=0.1)
    ce("images_sum", (2, 5, 3, 4), draw.labels((2, 3, 4), 5), reduction="sum")
    # soft targets
    soft = draw.normal((6, 5)).softmax(1).float().double()
    ce("soft", (6, 5), soft)
    ce("soft_sum", (6, 5), soft, reduction="sum")
    ce("soft_smoothing", (6, 5), soft, label_smoothing=0.1)
    ce("soft_weight", (6, 5), soft, weight=weight)
    ce("soft_smoothing_weight", (6, 5), soft, label_smoothing=0.2, weight=weight)
    ce("soft_images", (2, 3, 2, 4), draw.normal((2, 3, 2, 4)).softmax(1).float().double())

    def nll(case, x, target, **options):
        x = (draw.normal(x, 2.0) if isinstance(x, tuple) else x).log_softmax(1).float()
        f.loss(f"nll/{case}", F.nll_loss, x, target, **options)

    nll("mean", (6, 5), labels)
    nll("sum", (6, 5), labels, reduction="sum")
    nll("weight", (6, 5), labels, weight=weight)
    nll("ignored_weight", (6, 5), ignoring, weight=weight)
    nll("ignored_class", (6, 5), labels, ignore_index=1)
    nll("images", (2, 5, 3, 4), holes)

    for name, shape in {"rank1": (7,), "rank2": (4, 5), "images": (2, 3, 4, 2)}.items():
        for reduction in ("mean", "sum"):
            f.loss(f"mse/{name}_{reduction}", F.mse_loss, shape, draw.normal(shape), reduction=reduction)

    def bce(case, x, target, **options):
        f.loss(f"bce/{case}", F.binary_cross_entropy_with_logits, x, target, **options)

    zero_one = draw.labels((4, 5), 2).double()
    bce("mean", (4, 5), zero_one)
    bce("sum", (4, 5), zero_one, reduction="sum")
    bce("soft", (4, 5), draw.uniform((4, 5)))
    bce("images", (2, 1, 3, 4), draw.labels((2, 1, 3, 4), 2).double())
    bce("weight", (4, 5), zero_one, weight=draw.uniform((4, 5), 0, 2))
    bce("pos_weight", (4, 5), zero_one, pos_weight=draw.uniform((5,), 0.5, 3))
    bce("weight_columns", (4, 5), zero_one, weight=draw.uniform((5,), 0, 2))
    bce("weight_rows_sum", (4, 5), zero_one, weight=draw.uniform((4, 1), 0, 2), reduction="sum")
    images = draw.labels((2, 3, 2, 3), 2).double()
    bce("pos_weight_channels", (2, 3, 2, 3), images, pos_weight=draw.uniform((3, 1, 1), 0.5, 3))
    weights = {"weight": draw.uniform((4, 5), 0, 2), "pos_weight": draw.uniform((5,), 0.5, 3)}
    bce("weight_pos_weight_sum", (4, 5), draw.uniform((4, 5)), **weights, reduction="sum")
    tails = torch.tensor([-1000.0, -100, -30, 0, 30, 100, 1000, 1000], dtype=torch.float64)
    bce("tails", tails, torch.tensor([0.0, 1, 0, 1, 1, 0, 1, 0]).double())

    # Differences on both sides of where the pieces meet, and there.
    steps = torch.tensor([-3.0, -1, -0.75, -0.5, 0, 0.25, 0.5, 0.75, 1, 2]).double()
    for name, function, option in (("smooth_l1", F.smooth_l1_loss, "beta"), ("huber", F.huber_loss, "delta")):
        f.loss(f"{name}/images", function, (2, 3, 4, 5), draw.normal((2, 3, 4, 5)))
        f.loss(f"{name}/sum", function, (4, 5), draw.normal((4, 5)), reduction="sum")
        f.loss(f"{name}/half", function, steps, torch.zeros(10).double(), **{option: 0.5})
        f.loss(f"{name}/wide", function, (4, 9), draw.normal((4, 9)), **{option: 2.5})
    f.loss("smooth_l1/l1", F.l1_loss, steps, torch.zeros(10).double())

    def kl(case, x, target, **options):
        x = (draw.normal(x, 2.0) if isinstance(x, tuple) else x).log_softmax(1).float()
        f.loss(f"kl_div/{case}", F.kl_div, x, target, **options)

    some = draw.normal((4, 6)).softmax(1)
    some[1, 2] = some[3, 0] = 0
    kl("mean", (4, 6), some.float().double())
    kl("sum", (4, 6), some.float().double(), reduction="sum")
    kl("batchmean", (4, 6), some.float().double(), reduction="batchmean")
    kl("log_target", (4, 6), draw.normal((4, 6)).log_softmax(1).float().double(), log_target=True)
    kl("images", (2, 3, 2, 5), draw.normal((2, 3, 2, 5)).softmax(1).float().double(), reduction="batchmean")

    def focal(case, x, target, **options):
        f.loss(f"focal/{case}", sigmoid_focal_loss, x, target, **options)

    focal("mean", (4, 5), zero_one)
    focal("sum", (4, 5), zero_one, reduction="sum")
    focal("soft", (4, 5), draw.uniform((4, 5)))
    focal("gamma_0", (4, 5), zero_one, gamma=0.0)
    focal("gamma_half", (4, 5), zero_one, gamma=0.5, alpha=0.6)
    focal("no_alpha", (2, 1, 3, 7), draw.labels((2, 1, 3, 7), 2).double(), alpha=-1.0)
    focal("tails", torch.tensor([-60.0, -30, 30, 60, 8, -8]), torch.tensor([0.0, 1, 0, 1, 1, 0]).double())

    signs = draw.labels((4, 5), 2).double() * 2 - 1
    f.loss("hinge_embedding/mean", F.hinge_embedding_loss, draw.uniform((4, 5), 0, 3), signs)
    f.loss("hinge_embedding/sum", F.hinge_embedding_loss, draw.uniform((4, 5), 0, 3), signs, margin=2.0, reduction="sum")
    f.loss("hinge_embedding/edge", F.hinge_embedding_loss, torch.tensor([1.0, 1, 0, 2]),
           torch.tensor([-1.0, 1, -1, -1]).double())  # fmt: skip

    def margin(case, x, target, **options):
        f.loss(f"multi_margin/{case}", F.multi_margin_loss, x, target, **options)

    margin("mean", (6, 5), labels)
    margin("sum", (6, 5), labels, reduction="sum")
    margin("square", (6, 5), labels, p=2, margin=0.5)
    margin("weight", (6, 5), labels, weight=weight)
    margin("rank1", (4,), torch.tensor(2))

    def cosine(case, shape, target, **options):
        def cosine_embedding_loss(x, target, **options):
            return F.cosine_embedding_loss(x[0], x[1], target, **options)

        f.loss(f"cosine_embedding/{case}", cosine_embedding_loss, shape, target, **options)

    like = draw.labels((6,), 2) * 2 - 1
    cosine("mean", (2, 6, 4), like)
    cosine("sum_margin", (2, 6, 3), like, margin=0.4, reduction="sum")
    cosine("unlike", (2, 3, 7), torch.tensor([-1, -1, -1]), margin=-0.5)

    def dice(case, x, target, **options):
        f.loss(f"dice/{case}", dice_loss, x, target, **options)

    dice("images", (2, 5, 3, 4), draw.labels((2, 3, 4), 5))
    dice("ignored", (2, 5, 3, 4), holes)
    dice("sum", (2, 3, 7), draw.labels((2, 7), 3), smooth=1.0, reduction="sum")
    dice("one_place", (3, 4), draw.labels((3,), 4))
    # A loss for each element, sample or place: appended, so that the draws above stay.
    none = {"reduction": "none"}
    ce("none", (6, 5), labels, **none)
    ce("none_rank1", (4,), torch.tensor(2), **none)
    ce("none_images", (2, 5, 3, 4), holes, label_smoothing=0.1, weight=weight, **none)
    ce("none_soft", (6, 5), soft, label_smoothing=0.2, weight=weight, **none)
    nll("none", (2, 5, 3, 4), holes, weight=weight, **none)
    f.loss("mse/none", F.mse_loss, (4, 5), draw.normal((4, 5)), **none)
    bce("none", (4, 5), zero_one, **none)
    bce("none_weights", (4, 5), draw.uniform((4, 5)), **weights, **none)
    f.loss("smooth_l1/none", F.smooth_l1_loss, (4, 9), draw.normal((4, 9)), beta=0.5, **none)
    f.loss("huber/none", F.huber_loss, (4, 9), draw.normal((4, 9)), delta=2.5, **none)
    kl("none", (4, 6), some.float().double(), **none)
    focal("none", (4, 5), zero_one, **none)
    f.loss("hinge_embedding/none", F.hinge_embedding_loss, draw.uniform((4, 5), 0, 3), signs, **none)
    f.loss("multi_margin/none", F.multi_margin_loss, (6, 5), labels, weight=weight, p=2, **none)
    cosine("none", (2, 6, 3), like, margin=0.4, **none)


# --- branches and networks --------------------------------------------------------------------------------------------


class Branches(nn.Module):
    """Named modules whose results are joined."""

    def __init__(self, join, **branches):
        super().__init__()
        self.join = join
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x):
        return self.join([branch(x) for branch in self.children()])


def total(parts):
    return sum(parts[1:], parts[0])


def concat(parts):
    return torch.cat(parts, 1)


def product(parts):
    return math.prod(parts[1:], start=parts[0])


class BasicBlock(nn.Module):
    """torchvision.models.resnet.BasicBlock."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class SqueezeExcitation(nn.Module):
    """torchvision.ops.SqueezeExcitation: x * sigmoid(fc2(relu(fc1(mean of x over the pixels))))."""

    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


def small_lenet():
    return nn.Sequential(
        nn.Conv2d(1, 2, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(16, 12), nn.Sigmoid(), nn.Linear(12, 8), nn.Sigmoid(), nn.Linear(8, 10))  # fmt: skip


@area
def networks(f):
    def joined(case, join, x, /, **branches):
        f.layer(case, Branches(join, **branches), x)

    mlp = nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Sequential(nn.Linear(6, 3)))
    f.layer("sequential/positions", nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), (5, 4))
    f.layer("sequential/nested", mlp, (5, 4))

    path = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    joined("sum/identity", total, (3, 4), shortcut=nn.Identity(), fc=nn.Linear(4, 4))
    joined("sum/three", total, (2, 3, 4), a=nn.Linear(4, 2), b=nn.Linear(4, 2, bias=False), c=path)

    narrow = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3, padding=1))
    pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(3, 1, 1))
    joined("concat/inception", concat, (2, 3, 4, 5), branch1=nn.Conv2d(3, 2, 1), branch2=narrow, branch3=pooled)
    dense = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 3, padding=1))
    joined("concat/dense", concat, (2, 2, 4, 4), input=nn.Identity(), conv=dense)
    joined("concat/rank2", concat, (3, 4), a=nn.Linear(4, 3), b=nn.Identity())

    gate = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid())
    spatial = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.Sigmoid())
    channels = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1))
    joined("product/gate", product, (5, 4), value=nn.Linear(4, 3), gate=gate)
    joined("product/three", product, (4, 3), x=nn.Identity(), a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    joined("product/spatial_gate", product, (2, 3, 3, 4), x=nn.Identity(), gate=spatial)
    joined("product/channels_by_pixels", product, (2, 3, 3, 4), channels=channels, pixels=nn.Conv2d(3, 1, 1))
    f.layer("product/squeeze_excitation", SqueezeExcitation(4, 2), (2, 4, 3, 5))

    f.layer("basic_block/stride", BasicBlock(3, 4, 2), (2, 3, 6, 5))
    f.layer("basic_block/identity", BasicBlock(3, 3, 1), (2, 3, 4, 5))
    f.layer("lenet/layer", small_lenet(), (4, 1, 12, 12))

    # Three steps of gradient descent on one batch.
    case, steps = "lenet/training", 3
    draw, net, criterion = Draw(case), small_lenet(), nn.CrossEntropyLoss()
    f.name(case, f"{steps} steps of SGD(lr=0.5) on cross_entropy of the LeNet above")
    draw.fill(net)
    x, target = draw.normal((6, 1, 12, 12)), draw.labels((6,), 10)
    f.add(case, x=x, target=target, **{f"state.{key}": value for key, value in net.state_dict().items()})
    optimizer, values = torch.optim.SGD(net.parameters(), lr=0.5), []
    for step in range(steps):
        optimizer.zero_grad()
        logits = net(x)
        loss = criterion(logits, target)
        loss.backward()
        if step == 0:
            f.add(case, y=logits, **{f"grad.{key}": value.grad for key, value in net.named_parameters()})
        optimizer.step()
        values.append(loss.item())
    f.add(case, losses=torch.tensor(values, dtype=torch.float64))
    f.add(case, **{f"after.{key}": value for key, value in net.state_dict().items()})


@area
def initialisers(f):
    """What PyTorch's initialisers draw from: (low, high) of a uniform distribution, (mean, std) of a normal one."""
    weights = {"linear": nn.Linear(30, 50), "conv": nn.Conv2d(6, 20, (3, 5)), "grouped": nn.Conv2d(8, 24, 3, groups=4)}
    calls = {
        "xavier_uniform": nn.init.xavier_uniform_,
        "xavier_uniform_gain": lambda w: nn.init.xavier_uniform_(w, gain=nn.init.calculate_gain("tanh")),
        "xavier_normal": nn.init.xavier_normal_,
        "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
        "kaiming_uniform_leaky": lambda w: nn.init.kaiming_uniform_(w, a=0.2),
        "kaiming_uniform_fan_out": lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
        "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "kaiming_normal_fan_out": lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    }
    drawn = []

    def record(tensor, first, second):
        drawn.append(torch.tensor([first, second], dtype=torch.float64))

    with mock.patch.multiple(torch.Tensor, uniform_=record, normal_=record):
        for kind, layer in weights.items():
            layer.reset_parameters()
            f.name(f"default/{kind}", f"reset_parameters of {layer}")
            f.add(f"default/{kind}", weight=drawn[0], bias=drawn[1])
            drawn.clear()
            for name, call in calls.items():
                call(layer.weight)
                f.name(f"{name}/{kind}", f"{name} of the weight of {layer}")
                f.add(f"{name}/{kind}", weight=drawn.pop())


# --- command line -----------------------------------------------------------------------------------------------------


def differences(path, content):
    """What differs between the file and the bytes made now, as lines."""
    if not path.exists():
        return [f"{path.name}: missing"]
    (old, old_metadata), (new, new_metadata) = read_safetensors(path.read_bytes()), read_safetensors(content)
    lines = [f"{path.name}: {key} is missing" for key in new.keys() - old.keys()]
    lines += [f"{path.name}: {key} is not made by the script" for key in old.keys() - new.keys()]
    lines += [f"{path.name}: the text of {key} differs" for key in old_metadata.keys() | new_metadata.keys()
              if old_metadata.get(key) != new_metadata.get(key)]  # fmt: skip
    for key in old.keys() & new.keys():
        if old[key][:2] != new[key][:2]:
            lines.append(f"{path.name}: {key} is {old[key][:2]} in the file, {new[key][:2]} now")
            continue
        scale = max((abs(value) for value in new[key][2] if math.isfinite(value)), default=0)
        pairs = zip(old[key][2], new[key][2])
        if not all(a == b or abs(a - b) <= 1e-12 * scale or math.isnan(a) and math.isnan(b) for a, b in pairs):
            lines.append(f"{path.name}: the values of {key} differ")
    return sorted(lines)


def write_fixture(name, doc, cases):
    """The main program of a script for one file, which cases(fixture) fills."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    options = parser.parse_args()

    torch.set_num_threads(1)
    fixture, path = Fixture(), HERE / f"{name}.safetensors"
    cases(fixture)
    content = write_safetensors(fixture.tensors, fixture.metadata)
    if options.check:
        lines = differences(path, content)
        print(*lines, sep="\n")
        return 1 if lines else 0
    path.write_bytes(content)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("--list", action="store_true", help="print the cases instead of writing the files")
    options = parser.parse_args()

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Using padding='same' with even kernel lengths")
    warnings.filterwarnings("ignore", message="reduction: 'mean' divides")
    cases, size, lines = 0, 0, []
    for name, make in AREAS.items():
        fixture = Fixture()
        make(fixture)
        content, path = write_safetensors(fixture.tensors, fixture.metadata), HERE / f"{name}.safetensors"
        cases, size = cases + len(fixture.metadata), size + len(content)
        if options.list:
            print(*(f"{name}: {case}: {text}" for case, text in fixture.metadata.items()), sep="\n")
        elif options.check:
            lines += differences(path, content)
        else:
            path.write_bytes(content)
    print(*lines, f"{cases} cases, {size} bytes{f', {len(lines)} differences' if options.check else ''}", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Makes pixelcnn_plus_plus.safetensors: the network and the loss of PixelCNN++, line by line after the authors' code
(github.com/openai/pixel-cnn, pixel_cnn_pp/nn.py and model.py, TensorFlow), with images as [N, C, H, W].

    tests/golden/make_pixelcnn_plus_plus.py            writes the file
    tests/golden/make_pixelcnn_plus_plus.py --check    makes it again in memory and compares, as make_layers.py

Entries as in make_layers.py. "logistic/vanishing" is the definition in 900 digits (mpmath), where the authors' code takes
the density in the middle of a bin for masses below 1e-5; elsewhere the two are the same number.
"""

import sys

import mpmath
import torch
import torch.nn.functional as F
from make_layers import Draw, write_fixture
from torch import nn
from torch.nn.utils import weight_norm


def concat_elu(x):
    return F.elu(torch.cat([x, -x], 1))


def down_shift(x):
    return torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, :-1]], 2)


def right_shift(x):
    return torch.cat([torch.zeros_like(x[:, :, :, :1]), x[:, :, :, :-1]], 3)


class ConcatELU(nn.Module):
    def forward(self, x):
        return concat_elu(x)


class Shift2d(nn.Module):
    def forward(self, x):
        return right_shift(down_shift(down_shift(x)))


class DownShifted(nn.Conv2d):
    """down_shifted_conv2d."""

    def forward(self, x):
        kh, kw = self.kernel_size
        return super().forward(F.pad(x, ((kw - 1) // 2, (kw - 1) // 2, kh - 1, 0)))


class DownRightShifted(nn.Conv2d):
    """down_right_shifted_conv2d."""

    def forward(self, x):
        kh, kw = self.kernel_size
        return super().forward(F.pad(x, (kw - 1, 0, kh - 1, 0)))


class Deconv(nn.ConvTranspose2d):
    """deconv2d with pad='VALID': all that the windows reach, and the rest of the stride."""

    def full(self, x):
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        y = super().forward(x)
        rows, columns = x.shape[2] * sh + kh - 1, x.shape[3] * sw + kw - 1
        bias = self.bias.reshape(1, -1, 1, 1).expand(y.shape[0], -1, rows, columns)
        return torch.cat([torch.cat([y, bias[:, :, : y.shape[2], y.shape[3]:]], 3), bias[:, :, y.shape[2]:]], 2)


class DownShiftedDeconv(Deconv):
    def forward(self, x):
        kh, kw = self.kernel_size
        y = self.full(x)
        return y[:, :, : y.shape[2] - kh + 1, (kw - 1) // 2: y.shape[3] - (kw - 1) // 2]


class DownRightShiftedDeconv(Deconv):
    def forward(self, x):
        kh, kw = self.kernel_size
        y = self.full(x)
        return y[:, :, : y.shape[2] - kh + 1, : y.shape[3] - kw + 1]


def normalized(layer):
    return weight_norm(layer, dim=1 if isinstance(layer, nn.ConvTranspose2d) else 0)


class GatedResnet(nn.Module):
    def __init__(self, filters, skip, conv, kernel, classes=0):
        super().__init__()
        self.conv_input = normalized(conv(2 * filters, filters, kernel))
        if skip:
            self.nin_skip = normalized(nn.Conv2d(2 * skip, filters, 1))
        self.conv_out = normalized(conv(2 * filters, 2 * filters, kernel))
        if classes:
            self.condition = nn.Conv2d(classes, 2 * filters, 1, bias=False)
        self.skip, self.classes = skip, classes

    def forward(self, x, a=None, h=None):
        c1 = self.conv_input(concat_elu(x))
        if a is not None:
            c1 = c1 + self.nin_skip(concat_elu(a))
        c2 = self.conv_out(concat_elu(c1))
        if h is not None:
            c2 = c2 + self.condition(h)
        a, b = c2.chunk(2, 1)
        return x + a * torch.sigmoid(b)


class Streams(nn.Module):
    def __init__(self, filters, count, skip, classes):
        super().__init__()
        self.u = nn.ModuleList(GatedResnet(filters, skip, DownShifted, (2, 3), classes) for _ in range(count))
        self.ul = nn.ModuleList(
            GatedResnet(filters, filters + skip, DownRightShifted, (2, 2), classes) for _ in range(count))


class PixelCNNPlusPlus(nn.Module):
    def __init__(self, channels, resnets, filters, mixtures, classes=0):
        super().__init__()
        self.channels, self.resnets, self.classes = channels, resnets, classes
        self.u_init = normalized(DownShifted(channels + 1, filters, (2, 3)))
        self.ul_init = nn.ModuleList([
            normalized(DownShifted(channels + 1, filters, (1, 3))),
            normalized(DownRightShifted(channels + 1, filters, (2, 1)))])
        self.up = nn.ModuleList(Streams(filters, resnets, 0, classes) for _ in range(3))
        self.down = nn.ModuleList(Streams(filters, resnets + (i > 0), filters, classes) for i in range(3))
        self.downsize_u = nn.ModuleList(normalized(DownShifted(filters, filters, (2, 3), 2)) for _ in range(2))
        self.downsize_ul = nn.ModuleList(normalized(DownRightShifted(filters, filters, (2, 2), 2)) for _ in range(2))
        self.upsize_u = nn.ModuleList(normalized(DownShiftedDeconv(filters, filters, (2, 3), 2)) for _ in range(2))
        self.upsize_ul = nn.ModuleList(normalized(DownRightShiftedDeconv(filters, filters, (2, 2), 2)) for _ in range(2))
        self.nin_out = normalized(nn.Conv2d(filters, mixtures * (3 if channels == 1 else 10), 1))

    def forward(self, images):
        h = images[:, self.channels:, :1, :1] if self.classes else None
        x = 2 * images[:, : self.channels] - 1  # the authors' images are in [-1, 1]
        x_pad = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        u_list = [down_shift(self.u_init(x_pad))]
        ul_list = [down_shift(self.ul_init[0](x_pad)) + right_shift(self.ul_init[1](x_pad))]
        for size in range(3):
            if size > 0:
                u_list.append(self.downsize_u[size - 1](u_list[-1]))
                ul_list.append(self.downsize_ul[size - 1](ul_list[-1]))
            for rep in range(self.resnets):
                u_list.append(self.up[size].u[rep](u_list[-1], None, h))
                ul_list.append(self.up[size].ul[rep](ul_list[-1], u_list[-1], h))
        u, ul = u_list.pop(), ul_list.pop()
        for size in range(3):
            if size > 0:
                u, ul = self.upsize_u[size - 1](u), self.upsize_ul[size - 1](ul)
            for u_layer, ul_layer in zip(self.down[size].u, self.down[size].ul):
                u = u_layer(u, u_list.pop(), h)
                ul = ul_layer(ul, torch.cat([u, ul_list.pop()], 1), h)
        assert not u_list and not ul_list
        return self.nin_out(F.elu(ul))


def discretized_mix_logistic_loss(parameters, levels):
    """discretized_mix_logistic_loss of the authors, for images of 256 levels; for one colour without coefficients. A mean
    over the batch."""
    l = parameters.permute(0, 2, 3, 1)
    x = 2 * levels.double().permute(0, 2, 3, 1) / 255 - 1
    xs, colours = list(x.shape), x.shape[3]
    nr_mix = l.shape[3] // (10 if colours == 3 else 3)
    logit_probs, l = l[..., :nr_mix], l[..., nr_mix:].reshape(xs + [-1])
    means = l[..., :nr_mix]
    log_scales = torch.clamp(l[..., nr_mix: 2 * nr_mix], min=-7.0)
    x = x.unsqueeze(4) + torch.zeros(xs + [nr_mix], dtype=torch.float64)
    if colours == 3:
        coeffs = torch.tanh(l[..., 2 * nr_mix: 3 * nr_mix])
        m2 = means[:, :, :, 1] + coeffs[:, :, :, 0] * x[:, :, :, 0]
        m3 = means[:, :, :, 2] + coeffs[:, :, :, 1] * x[:, :, :, 0] + coeffs[:, :, :, 2] * x[:, :, :, 1]
        means = torch.stack([means[:, :, :, 0], m2, m3], 3)
    centered_x = x - means
    inv_stdv = torch.exp(-log_scales)
    plus_in = inv_stdv * (centered_x + 1.0 / 255)
    cdf_plus = torch.sigmoid(plus_in)
    min_in = inv_stdv * (centered_x - 1.0 / 255)
    cdf_min = torch.sigmoid(min_in)
    log_cdf_plus = plus_in - F.softplus(plus_in, threshold=1e9)
    log_one_minus_cdf_min = -F.softplus(min_in, threshold=1e9)
    cdf_delta = cdf_plus - cdf_min
    inside = (x >= -0.999) & (x <= 0.999)
    assert torch.all(cdf_delta[inside] > 1e-5), "the authors' approximation would be taken"
    log_probs = torch.where(
        x < -0.999, log_cdf_plus,
        torch.where(x > 0.999, log_one_minus_cdf_min, torch.log(torch.clamp(cdf_delta, min=1e-12))))
    log_probs = log_probs.sum(3) + torch.log_softmax(logit_probs, 3)
    return -torch.logsumexp(log_probs, 3).sum() / len(parameters)


def exact_loss(parameters, levels):
    """The definition, in mpmath's numbers: parameters [P] of a pixel of three colours."""
    mp = mpmath.mp
    k_count = len(parameters) // 10
    x = [2 * mp.mpf(level) / 255 - 1 for level in levels]
    total, weights = mp.mpf(0), mp.mpf(0)
    for k in range(k_count):
        at = lambda c, i: parameters[k_count + c * 3 * k_count + i * k_count + k]
        mass = mp.exp(parameters[k])
        weights += mass
        means = [at(0, 0), at(1, 0) + mp.tanh(at(0, 2)) * x[0],
                 at(2, 0) + mp.tanh(at(1, 2)) * x[0] + mp.tanh(at(2, 2)) * x[1]]
        for c in range(3):
            s = mp.exp(max(at(c, 1), mp.mpf(-7)))
            sigmoid = lambda z: 1 / (1 + mp.exp(-z / s))
            upper = mp.mpf(1) if levels[c] == 255 else sigmoid(x[c] + mp.mpf(1) / 255 - means[c])
            lower = mp.mpf(0) if levels[c] == 0 else sigmoid(x[c] - mp.mpf(1) / 255 - means[c])
            mass *= upper - lower
        total += mass
    return -mp.log(total / weights)


def vanishing(f, case):
    """Narrow logistics far from the levels, log scales below -7, and levels at both ends."""
    mpmath.mp.dps = 900
    draw, pixels = Draw(case), 6
    target = torch.tensor([[0, 255, 17, 200, 0, 255], [255, 0, 128, 3, 90, 254], [4, 77, 255, 0, 1, 31]]).reshape(1, 3, 1, 6)
    x = draw.normal((1, 20, 1, pixels), 0.7)
    for place in (4, 5, 10, 11, 16, 17):  # the log scales
        x[:, place] = draw.uniform((1, 1, pixels), -8.0, 1.5)
    value, grad = mpmath.mpf(0), torch.zeros_like(x)
    for i in range(pixels):
        levels = [int(v) for v in target[0, :, 0, i]]
        numbers = [mpmath.mpf(float(v)) for v in x[0, :, 0, i]]
        value += exact_loss(numbers, levels)
        step = mpmath.mpf(10) ** -100
        for j in range(20):
            up, down = list(numbers), list(numbers)
            up[j] += step
            down[j] -= step
            grad[0, j, 0, i] = float((exact_loss(up, levels) - exact_loss(down, levels)) / (2 * step))
    f.name(case, "the definition in 900 digits")
    f.add(case, x=x, target=target, value=torch.tensor(float(value), dtype=torch.float64), grad=grad)


def authors_parameters(case, colours, mixtures, shape):
    """Parameters where no mass is below 1e-5."""
    draw, n, (h, w) = Draw(case), shape[0], shape[1:]
    parts = [draw.normal((n, mixtures, h, w))]
    for _ in range(colours):
        parts.append(draw.uniform((n, mixtures, h, w), -0.5, 0.5))
        parts.append(draw.uniform((n, mixtures, h, w), -0.5, 0.5))
        if colours == 3:
            parts.append(draw.normal((n, mixtures, h, w), 0.3))
    return torch.cat(parts, 1)


def cases(f):
    f.layer("concat_elu", ConcatELU(), (2, 3, 2, 3))
    f.layer("shift", Shift2d(), (2, 2, 4, 3))
    f.layer("weight_norm/conv", weight_norm(nn.Conv2d(2, 3, (2, 3), 2, 1)), (2, 2, 5, 4))
    f.layer("weight_norm/transposed", weight_norm(nn.ConvTranspose2d(3, 2, (2, 3), 2), dim=1), (2, 3, 3, 2))
    f.layer("network", PixelCNNPlusPlus(3, 1, 3, 2), (2, 3, 8, 8))
    f.layer("network/grey", PixelCNNPlusPlus(1, 2, 2, 3, 2), (1, 3, 4, 8))
    for case, colours in (("logistic/colour", 3), ("logistic/grey", 1)):
        target = Draw(case + " levels").labels((2, colours, 4, 5), 256)
        target[:, :, 0, 0], target[:, :, 1, 1] = 0, 255
        f.loss(case, discretized_mix_logistic_loss, authors_parameters(case, colours, 4, (2, 4, 5)), target)
    vanishing(f, "logistic/vanishing")


if __name__ == "__main__":
    sys.exit(write_fixture("pixelcnn_plus_plus", __doc__, cases))

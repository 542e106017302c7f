#!/usr/bin/python3
"""Makes hamburger.safetensors: the golden values of the hams and of Hamburger V1, V2 and V2+, with PyTorch.

    tests/golden/make_hamburger.py [--check | --list]        as make_layers.py, which says what the entries are

The modules follow the listing of Geng et al. 2021 ("Is attention better than matrix decomposition?") operation by
operation, with these differences: the bases are given (a buffer, as with RAND_INIT false), and `full` differentiates
every iteration instead of the last coefficients only, the norm in VQ's included. `online` says in which mode the bases
are updated: the listing does so in evaluation.
"""

import sys

import make_layers as layers
import torch
import torch.nn.functional as F
from torch import nn


class Draw(layers.Draw):
    """Bases are positive, so that NMF may have them, and normalised."""

    def fill(self, module):
        super().fill(module)
        for key, value in module.state_dict().items():
            if key.endswith("bases"):
                value.copy_(F.normalize(self.uniform(value.shape, 0.05, 1.0), dim=1).float())


layers.Draw = Draw
layers.AREAS.clear()


class Ham(nn.Module):
    def __init__(self, d, spatial=True, s=1, r=4, train_steps=3, eval_steps=4, inv_t=10, beta=0.1, eta=0.9, full=False,
                 online="training"):
        super().__init__()
        self.spatial, self.s, self.r, self.steps = spatial, s, r, (eval_steps, train_steps)
        self.inv_t, self.beta, self.eta, self.full, self.online = inv_t, beta, eta, full, online
        self.text = f"{d}, {spatial}, {s}, {r}, {train_steps}, {inv_t}, {full}, {online}"
        self.register_buffer("bases", torch.zeros(s, d, r))

    def extra_repr(self):
        return self.text

    def local_inference(self, x, bases):
        coef = F.softmax(self.inv_t * torch.bmm(x.transpose(1, 2), bases), dim=-1)
        for _ in range(self.steps[self.training]):
            bases, coef = self.local_step(x, bases, coef)
        return bases, coef

    def forward(self, x):
        B, C, H, W = x.shape
        if self.spatial:
            x = x.view(B * self.s, C // self.s, H * W)
        else:
            x = x.view(B * self.s, C // self.s, H * W).transpose(1, 2)
        bases = self.bases.repeat(B, 1, 1)
        with torch.set_grad_enabled(self.full):
            bases, coef = self.local_inference(x, bases)
        coef = self.compute_coef(x, bases, coef)
        x = torch.bmm(bases, coef.transpose(1, 2))
        x = x.view(B, C, H, W) if self.spatial else x.transpose(1, 2).reshape(B, C, H, W)
        if self.online == ("training" if self.training else "evaluation"):
            with torch.no_grad():
                update = bases.view(B, self.s, -1, self.r).mean(dim=0)
                # In place: the entries of `state` are clones.
                self.bases.add_(self.eta * (update - self.bases))
                self.bases.copy_(F.normalize(self.bases, dim=1))
        return x


class VQ(Ham):
    def local_step(self, x, bases, _):
        coef = torch.bmm(F.normalize(x, dim=1).transpose(1, 2), F.normalize(bases, dim=1, eps=1e-6))
        coef = F.softmax(self.inv_t * coef, dim=-1)
        coef = coef / (1e-6 + coef.sum(dim=1, keepdim=True))
        return torch.bmm(x, coef), coef

    def compute_coef(self, x, bases, _):
        with torch.set_grad_enabled(self.full):
            x_norm = x.norm(dim=1, keepdim=True)
        std_x = x / (1e-6 + x_norm)
        coef = torch.bmm(std_x.transpose(1, 2), F.normalize(bases, dim=1, eps=1e-6))
        return F.softmax(self.inv_t * coef, dim=-1)


class CD(Ham):
    def local_inference(self, x, bases):
        return super().local_inference(x, F.normalize(bases, dim=1))  # the given ones are rounded

    def local_step(self, x, bases, _):
        coef = torch.bmm(F.normalize(x, dim=1).transpose(1, 2), bases)
        coef = F.softmax(self.inv_t * coef, dim=-1)
        coef = coef / (1e-6 + coef.sum(dim=1, keepdim=True))
        return F.normalize(torch.bmm(x, coef), dim=1, eps=1e-6), coef

    def compute_coef(self, x, bases, _):
        temp = torch.bmm(bases.transpose(1, 2), bases) + self.beta * torch.eye(self.r).repeat(x.shape[0], 1, 1)
        return x.transpose(1, 2).bmm(bases).bmm(torch.inverse(temp))


class NMF(Ham):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "inv_t": 1})

    def local_step(self, x, bases, coef):
        coef = self.compute_coef(x, bases, coef)
        numerator = torch.bmm(x, coef)
        denominator = bases.bmm(coef.transpose(1, 2).bmm(coef))
        return bases * numerator / (denominator + 1e-6), coef

    def compute_coef(self, x, bases, coef):
        numerator = torch.bmm(x.transpose(1, 2), bases)
        denominator = coef.bmm(bases.transpose(1, 2).bmm(bases))
        return coef * numerator / (denominator + 1e-6)


class ConvBNReLU(nn.Module):
    def __init__(self, in_c, out_c):
        super().__init__()
        self.conv = nn.Conv2d(in_c, out_c, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_c, momentum=3e-4)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def lower_bread(ham, in_c, c):
    convolution = nn.Conv2d(in_c, c, 1)
    return nn.Sequential(convolution, nn.ReLU()) if ham is NMF else convolution


class HamburgerV1(nn.Module):
    def __init__(self, in_c, ham, d, **options):
        super().__init__()
        self.lower_bread = lower_bread(ham, in_c, d)
        self.ham = ham(d // options.get("s", 1), **options)
        self.upper_bread = nn.Sequential(nn.Conv2d(d, in_c, 1, bias=False), nn.BatchNorm2d(in_c, momentum=3e-4))

    def forward(self, x):
        return F.relu(self.upper_bread(self.ham(self.lower_bread(x))) + x)


class HamburgerV2(nn.Module):
    def __init__(self, in_c, ham, d, **options):
        super().__init__()
        self.lower_bread = lower_bread(ham, in_c, d)
        self.ham = ham(d // options.get("s", 1), **options)
        self.cheese = ConvBNReLU(d, d)
        self.upper_bread = nn.Conv2d(d, in_c, 1, bias=False)

    def forward(self, x):
        return F.relu(self.upper_bread(self.cheese(self.ham(self.lower_bread(x)))) + x)


class HamburgerV2Plus(nn.Module):
    def __init__(self, in_c, ham, d, pixels, dual=True, factor=None, s=1, **options):
        super().__init__()
        c, factor = s * d * (1 + dual), (factor or s) * (1 + dual)
        self.dual = dual
        self.lower_bread = lower_bread(ham, in_c, c)
        if dual:
            self.ham_1 = ham(d, True, s=s, **options)
            self.ham_2 = ham(pixels, False, s=s, **options)
        else:
            self.ham = ham(d, s=s, **options)
        self.cheese = ConvBNReLU(c, c // factor)
        self.upper_bread = nn.Conv2d(c // factor, in_c, 1, bias=False)
        self.coef_shortcut = nn.Parameter(torch.tensor([1.0]))
        self.coef_ham = nn.Parameter(torch.tensor([0.0]))

    def forward(self, x):
        shortcut = x
        x = self.lower_bread(x)
        if self.dual:
            x = x.view(x.shape[0], 2, x.shape[1] // 2, *x.shape[2:])
            x = torch.cat([self.ham_1(x.narrow(1, 0, 1).squeeze(dim=1)), self.ham_2(x.narrow(1, 1, 1).squeeze(dim=1))], 1)
        else:
            x = self.ham(x)
        x = self.upper_bread(self.cheese(x))
        return F.relu(self.coef_ham * x + self.coef_shortcut * shortcut)


@layers.area
def hamburger(f):
    for name, ham in {"nmf": NMF, "vq": VQ, "cd": CD}.items():

        def layer(case, shape, *args, **kwargs):
            case = f"{name}/{case}"
            draw = Draw(f"{case} input")
            x = draw.uniform(shape) if ham is NMF else draw.normal(shape)
            module = ham(*args, **kwargs)
            f.layer(case, module, x)
            if module.online == "evaluation":
                f.add(case, updated=module.bases)

        for full in (False, True):
            gradient = "bptt" if full else "one_step"
            # More vectors than entries in each, and the other way round; several blocks of rows.
            layer(f"spatial_{gradient}", (2, 6, 3, 4), 6, full=full)
            layer(f"spatial_deep_{gradient}", (1, 14, 2, 3), 14, full=full)
            layer(f"channel_{gradient}", (2, 6, 3, 4), 12, False, full=full)
            layer(f"channel_wide_{gradient}", (1, 14, 2, 3), 6, False, full=full)
            layer(f"heads_{gradient}", (2, 10, 3, 4), 5, s=2, r=3, full=full)
            layer(f"channel_heads_{gradient}", (2, 8, 2, 3), 6, False, s=2, r=3, full=full)
            layer(f"long_{gradient}", (1, 7, 11, 13), 7, r=5, full=full)
        layer("rank_1", (2, 5, 3, 3), 5, r=1)
        layer("rank_17", (1, 19, 4, 5), 19, r=17)
        layer("six_steps", (1, 6, 4, 5), 6, train_steps=6, eval_steps=7)
        layer("no_steps", (1, 6, 4, 5), 6, train_steps=0, eval_steps=0)
        layer("online_evaluation", (2, 6, 3, 4), 6, online="evaluation")
        burger = dict(r=3)
        f.layer(f"v1/{name}", HamburgerV1(5, ham, 6, **burger), (2, 5, 3, 4))
        f.layer(f"v1/{name}_channel", HamburgerV1(5, ham, 12, **{**burger, "spatial": False}), (2, 5, 3, 4))
        f.layer(f"v2/{name}", HamburgerV2(5, ham, 6, s=2, **burger), (2, 5, 3, 4))
        f.layer(f"v2+/{name}", HamburgerV2Plus(5, ham, 4, 12, **burger), (2, 5, 3, 4))
        f.layer(f"v2+/{name}_bptt", HamburgerV2Plus(5, ham, 4, 12, full=True, **burger), (2, 5, 3, 4))
        f.layer(f"v2+/{name}_single", HamburgerV2Plus(5, ham, 4, 12, dual=False, s=2, **burger), (2, 5, 3, 4))


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    sys.exit(layers.main())

#!/usr/bin/python3
"""Writes tests/optim/expected.hpp: what PyTorch's optimisers, schedules and gradient clipping do, step by step.

    tests/golden/make_optim.py            writes the header
    tests/golden/make_optim.py --check    compares it with what it would write; exit status 1 if it differs

Needs PyTorch only (Debian 12: apt install python3-torch, version 1.13, run by /usr/bin/python3). Everything is computed
in float64, from values and gradients that test_optimizers.cpp makes by the same formulas.
"""

import math
import pathlib
import sys
import warnings

import torch
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim import lr_scheduler as schedules

TARGET = pathlib.Path(__file__).resolve().parent.parent / "optim" / "expected.hpp"
SHAPES = [(2, 3), (5,)]
STEPS = 8


class LARS(torch.optim.Optimizer):
    """You, Gitman and Ginsburg 2017, algorithm 1, line by line."""

    def __init__(self, params, lr, momentum=0.9, weight_decay=0.0, trust=1e-3, always=False):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust, always=always))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g, beta = w.grad, group["weight_decay"]
                local_lr = 1.0
                if (beta != 0 or group["always"]) and w.norm() > 0 and g.norm() > 0:
                    local_lr = group["trust"] * w.norm() / (g.norm() + beta * w.norm())
                state = self.state[w]
                v = state.get("v", torch.zeros_like(w))
                state["v"] = group["momentum"] * v + group["lr"] * local_lr * (g + beta * w)
                w -= state["v"]


class LAMB(torch.optim.Optimizer):
    """You et al. 2020, algorithm 2, line by line; phi is the identity."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, always=False):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, always=always))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for x in group["params"]:
                if x.grad is None:
                    continue
                g, (beta1, beta2), decay = x.grad, group["betas"], group["weight_decay"]
                state = self.state[x]
                t = state["t"] = state.get("t", 0) + 1
                m = state["m"] = beta1 * state.get("m", torch.zeros_like(x)) + (1 - beta1) * g
                v = state["v"] = beta2 * state.get("v", torch.zeros_like(x)) + (1 - beta2) * g**2
                m, v = m / (1 - beta1**t), v / (1 - beta2**t)
                r = m / (v.sqrt() + group["eps"]) + decay * x
                ratio = 1.0
                if (decay != 0 or group["always"]) and x.norm() > 0 and r.norm() > 0:
                    ratio = x.norm() / r.norm()
                x -= group["lr"] * ratio * r


OPTIMIZERS = {
    "sgd": (SGD, dict(lr=0.1)),
    "sgd decay": (SGD, dict(lr=0.1, weight_decay=0.01)),
    "sgd momentum": (SGD, dict(lr=0.1, momentum=0.9)),
    "sgd dampening": (SGD, dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01)),
    "sgd nesterov": (SGD, dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    "adam": (Adam, dict(lr=0.01)),
    "adam decay": (Adam, dict(lr=0.01, weight_decay=0.1)),
    "adam betas": (Adam, dict(lr=0.01, betas=(0.5, 0.9), eps=1e-3)),
    "adam amsgrad": (Adam, dict(lr=0.01, betas=(0.9, 0.5), amsgrad=True)),
    "adamw": (AdamW, dict(lr=0.01)),
    "adamw decay": (AdamW, dict(lr=0.01, weight_decay=0.3)),
    "adamw amsgrad": (AdamW, dict(lr=0.01, betas=(0.9, 0.5), amsgrad=True)),
    "rmsprop": (RMSprop, dict()),
    "rmsprop decay": (RMSprop, dict(alpha=0.9, eps=1e-4, weight_decay=0.1)),
    "rmsprop momentum": (RMSprop, dict(momentum=0.9)),
    "rmsprop centered": (RMSprop, dict(centered=True)),
    "rmsprop all": (RMSprop, dict(alpha=0.9, momentum=0.8, centered=True, weight_decay=0.1)),
    "lars": (LARS, dict(lr=2.0, weight_decay=0.01, trust=0.02)),
    "lars undecayed": (LARS, dict(lr=0.1)),
    "lars all": (LARS, dict(lr=3.0, momentum=0.0, trust=0.05, always=True)),
    "lamb": (LAMB, dict(lr=0.01)),
    "lamb undecayed": (LAMB, dict(lr=0.01, weight_decay=0.0)),
    "lamb all": (LAMB, dict(lr=0.02, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.0, always=True)),
}

# The learning rate of step t is the option's times this: what the momentum holds must show the rate it was made with.
RATE_FACTORS = [1.0, 0.5, 2.0]

METRICS = {
    "falling": [1.0, 0.9, 0.8, 0.8, 0.79999, 0.81, 0.7, 0.7, 0.7, 0.7, 0.7, 0.69, 0.69, 0.69, 0.69, 0.69, 0.5, 0.5, 0.5, 0.5],
    "flat": [0.9] * 20,
    "rising": [0.1 + 0.04 * i for i in range(20)],
    # Changes of about the threshold of 1e-4, up and down again: two steps are enough for 1e-4 of 0.9, three for 1e-4.
    "nearly flat": [0.9 + 4.7e-5 * i for i in [*range(10), *range(9, -1, -1)]],
    "negative": [-0.9] * 4 + [-0.9 + 4.7e-5 * i for i in range(4)] + [-1.0, -1.0, -1.2, -1.2, -0.5] + [-0.4] * 7,
    "undefined": [0.9, math.nan, math.nan, 0.8, math.nan, 0.7, math.inf, -math.inf, 0.7, 0.7, -math.inf, 0.6] + [math.inf] * 8,
}


def warmup(then, start, total):
    def make(optimizer):
        first = schedules.LinearLR(optimizer, start_factor=start, end_factor=1.0, total_iters=total)
        if then is None:
            return first
        return schedules.SequentialLR(optimizer, [first, then(optimizer)], [total])

    return make


SCHEDULES = {
    "step": lambda o: schedules.StepLR(o, 3),
    "step gamma": lambda o: schedules.StepLR(o, 2, gamma=0.5),
    "multistep": lambda o: schedules.MultiStepLR(o, [2, 5, 5, 11], gamma=0.3),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "exponential growth": lambda o: schedules.ExponentialLR(o, 1.1),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 7),
    "cosine floor": lambda o: schedules.CosineAnnealingLR(o, 7, eta_min=0.01),
    "cosine between": lambda o: schedules.CosineAnnealingLR(o, 7, eta_min=0.3),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 4),
    "restarts longer": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.01),
    "one cycle": lambda o: schedules.OneCycleLR(o, [0.5, 0.2], total_steps=21, cycle_momentum=False),
    "one cycle linear": lambda o: schedules.OneCycleLR(o, 0.7, total_steps=21, pct_start=0.2, anneal_strategy="linear",
                                                       div_factor=10, final_div_factor=100,
                                                       cycle_momentum=False),
    "polynomial": lambda o: schedules.PolynomialLR(o),
    "polynomial power": lambda o: schedules.PolynomialLR(o, 12, 0.9),
    "warmup": warmup(None, 1 / 3, 5),
    "warmup cosine": warmup(lambda o: schedules.CosineAnnealingLR(o, 10), 0.1, 4),
    "warmup step": warmup(lambda o: schedules.StepLR(o, 3), 0.5, 2),
    "warmup multistep": warmup(lambda o: schedules.MultiStepLR(o, [1, 4], gamma=0.3), 0.5, 3),
    "warmup polynomial": warmup(lambda o: schedules.PolynomialLR(o, 12, 0.9), 0.2, 3),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, patience=2),
    "plateau cooldown": lambda o: schedules.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=2, min_lr=0.1),
    "plateau absolute": lambda o: schedules.ReduceLROnPlateau(
        o, factor=0.5, patience=1, threshold=0.15, threshold_mode="abs"
    ),
    "plateau max": lambda o: schedules.ReduceLROnPlateau(o, mode="max", factor=0.5, patience=3, threshold=0.01),
    "plateau eps": lambda o: schedules.ReduceLROnPlateau(o, factor=0.5, patience=1, eps=0.03),
    "plateau no patience": lambda o: schedules.ReduceLROnPlateau(o, factor=0.9, patience=0, threshold=0),
}


def plateau(mode, threshold_mode, threshold=1e-4):
    options = dict(mode=mode, factor=0.5, patience=2, threshold=threshold, threshold_mode=threshold_mode)
    return lambda o: schedules.ReduceLROnPlateau(o, **options)


def start(p):
    count = math.prod(SHAPES[p])
    return torch.tensor([math.sin(1 + i + 10 * p) for i in range(count)], dtype=torch.float64).reshape(SHAPES[p])


def gradient(p, t):
    count = math.prod(SHAPES[p])
    return torch.tensor([math.cos(0.7 * i + 1.3 * t + 5 * p) for i in range(count)], dtype=torch.float64).reshape(SHAPES[p])


def trajectory(kind, options):
    """All values after each step; the second parameter has no gradient in the first two steps."""
    parameters = [start(p).requires_grad_() for p in range(len(SHAPES))]
    optimizer = kind(parameters, **options)
    values = []
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = optimizer.defaults["lr"] * RATE_FACTORS[t % len(RATE_FACTORS)]
        for p, parameter in enumerate(parameters):
            parameter.grad = None if p == 1 and t < 2 else gradient(p, t)
        optimizer.step()
        values += [value for parameter in parameters for value in parameter.detach().reshape(-1).tolist()]
    return values


def rates(make, metrics="falling"):
    """The rates of two groups at the start and after each step."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.5, 0.2)]
    optimizer = SGD(groups, lr=0.1)
    schedule = make(optimizer)
    values = [group["lr"] for group in optimizer.param_groups]
    for metric in METRICS[metrics]:
        optimizer.step()
        if isinstance(schedule, schedules.ReduceLROnPlateau):
            schedule.step(metric)
        else:
            schedule.step()
        values += [group["lr"] for group in optimizer.param_groups]
    return values


def clipped(max_norm):
    """The norm before, then the gradients after."""
    parameters = [start(p).requires_grad_() for p in range(len(SHAPES))]
    for p, parameter in enumerate(parameters):
        parameter.grad = gradient(p, 0)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    return [norm.item()] + [value for parameter in parameters for value in parameter.grad.reshape(-1).tolist()]


def listing(values):
    lines, line = [], ""
    for value in values:
        name = "infinity" if math.isinf(value) else "not_a_number" if math.isnan(value) else repr(value)
        text = ("-" if value == -math.inf else "") + name + ", "
        if len(line) + len(text) > 112:
            lines.append(line.rstrip())
            line = ""
        line += text
    return "\n".join("      " + text for text in lines + [line.rstrip(", ")])


def header():
    cases = {name: trajectory(*case) for name, case in OPTIMIZERS.items()}
    cases |= {"schedule " + name: rates(make) for name, make in SCHEDULES.items()}
    cases |= {f"schedule plateau {mode} no threshold flat": rates(plateau(mode, "rel", 0), "flat") for mode in ("min", "max")}
    cases |= {
        f"schedule plateau {mode} {threshold_mode} {metrics}": rates(plateau(mode, threshold_mode), metrics)
        for mode in ("min", "max")
        for threshold_mode in ("rel", "abs")
        for metrics in METRICS
    }
    cases |= {f"clip {max_norm}": clipped(max_norm) for max_norm in (0.5, 100.0)}
    out = "#pragma once\n\n// Made by tests/golden/make_optim.py with PyTorch " + torch.__version__.split("a")[0] + ".\n"
    out += "// clang-format off\n\n#include <limits>\n#include <map>\n#include <string>\n#include <vector>\n\n"
    out += "inline constexpr double infinity = std::numeric_limits<double>::infinity();\n"
    out += "inline constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();\n\n"
    out += f"inline const std::vector<double> rate_factors = {{{str(RATE_FACTORS)[1:-1]}}};\n\n"
    out += "inline const std::map<std::string, std::vector<double>> metrics = {\n"
    out += ",\n".join('    {"' + name + '", {\n' + listing(values) + "}}" for name, values in METRICS.items())
    out += "};\n\n"
    out += "inline const std::map<std::string, std::vector<double>> expected = {\n"
    out += ",\n".join('    {"' + name + '", {\n' + listing(values) + "}}" for name, values in cases.items())
    return out + "};\n"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:] == ["--check"]:
        sys.exit(TARGET.read_text() != header() and f"{TARGET} differs from what PyTorch {torch.__version__} gives")
    TARGET.write_text(header())

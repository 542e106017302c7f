#!/usr/bin/python3
"""Makes hamnet.safetensors: the first 20 training steps of a small HamNet with PyTorch.

    tests/golden/make_hamnet.py [--check | --list]        as make_layers.py

HamNet is the listing's with a ResNet-18 of a sixteenth of the channels; its ham keeps its bases, so that both sides
have the same. x and target are three batches that come in turn, state is what training starts from, losses are those
of the 20 steps; logits are those of the trained network for the first batch, in evaluation.
"""

import sys

import make_hamburger as burgers
import make_layers as layers
import torch
import torch.nn.functional as F
from torch import nn

layers.AREAS.clear()
layers.Draw = burgers.Draw
MOMENTUM, IGNORE = 3e-4, 255


def norm(channels):
    return nn.BatchNorm2d(channels, momentum=MOMENTUM)


class ConvBNReLU(nn.Module):
    def __init__(self, in_c, out_c):
        super().__init__()
        self.conv = nn.Conv2d(in_c, out_c, 3, padding=1, bias=False)
        self.bn = norm(out_c)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    def __init__(self, in_c, out_c, stride, dilation):
        super().__init__()
        self.conv1 = nn.Conv2d(in_c, out_c, 3, stride, dilation, dilation, bias=False)
        self.bn1 = norm(out_c)
        self.conv2 = nn.Conv2d(out_c, out_c, 3, 1, dilation, dilation, bias=False)
        self.bn2 = norm(out_c)
        if stride != 1 or in_c != out_c:
            self.downsample = nn.Sequential(nn.Conv2d(in_c, out_c, 1, stride, bias=False), norm(out_c))

    def forward(self, x):
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


def backbone(w):
    """ResNet-18 with a deep stem and an output stride of 8; w channels come out of the stem's first convolution."""
    stem = nn.Sequential(
        nn.Conv2d(3, w, 3, 2, 1, bias=False), norm(w), nn.ReLU(), nn.Conv2d(w, w, 3, 1, 1, bias=False), norm(w),
        nn.ReLU(), nn.Conv2d(w, 2 * w, 3, 1, 1, bias=False))
    layers_ = [nn.Sequential(BasicBlock(2 * w, w, 1, 1), BasicBlock(w, w, 1, 1)),
               nn.Sequential(BasicBlock(w, 2 * w, 2, 1), BasicBlock(2 * w, 2 * w, 1, 1)),
               nn.Sequential(BasicBlock(2 * w, 4 * w, 1, 1), BasicBlock(4 * w, 4 * w, 1, 2)),
               nn.Sequential(BasicBlock(4 * w, 8 * w, 1, 2), BasicBlock(8 * w, 8 * w, 1, 4 * 2))]
    return nn.Sequential(stem, norm(2 * w), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *layers_)


class HamNet(nn.Module):
    def __init__(self, classes=5, w=4, channels=16, aligned=8):
        super().__init__()
        self.backbone = backbone(w)
        self.squeeze = ConvBNReLU(8 * w, channels)
        self.hamburger = burgers.HamburgerV1(channels, burgers.NMF, channels, r=4, train_steps=6, eval_steps=7)
        self.align = ConvBNReLU(channels, aligned)
        self.fc = nn.Sequential(nn.Dropout2d(0), nn.Conv2d(aligned, classes, 1))

    def forward(self, x):
        y = self.fc(self.align(self.hamburger(self.squeeze(self.backbone(x)))))
        return F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=True)


@layers.area
def hamnet(f):
    draw, net = burgers.Draw("hamnet"), HamNet()
    f.name("hamnet", "HamNet, ResNet-18 with 4 channels, 20 steps of SGD")
    draw.fill(net)
    with torch.no_grad():  # scales that keep the signal as it is
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(2 * (2 / module.weight[0].numel()) ** 0.5).copy_(module.weight.float())
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1)
    x, target = draw.normal((3, 2, 3, 33, 40)), draw.labels((3, 2, 33, 40), 5)
    target[:, :, :3] = IGNORE
    f.add("hamnet", x=x, target=target, **{f"state.{key}": value for key, value in net.state_dict().items()})

    groups = {"weight": [], "norm": [], "bias": []}
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            groups["weight"].append(module.weight)
            groups["bias"] += [] if module.bias is None else [module.bias]
        elif isinstance(module, nn.BatchNorm2d):
            groups["norm"] += [module.weight, module.bias]
    lr = 9e-3
    optimizer = torch.optim.SGD(
        [dict(params=groups["weight"], weight_decay=1e-4), dict(params=groups["norm"], weight_decay=0),
         dict(params=groups["bias"], weight_decay=0, lr=2 * lr)], lr=lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - min(step, 20) / 20) ** 0.9)
    losses = []
    net.train()
    for step in range(20):
        log_p = F.log_softmax(net(x[step % 3]), dim=1)
        loss = F.nll_loss(log_p, target[step % 3], ignore_index=IGNORE, reduction="none").mean(2).mean(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    with torch.no_grad():
        f.add("hamnet", losses=torch.tensor(losses), logits=net.eval()(x[0]))


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    sys.exit(layers.main())

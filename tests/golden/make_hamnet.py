#!/usr/bin/python3
"""Makes hamnet.safetensors, checkpoints.safetensors and hams.safetensors with the authors' own program: training steps of
a small HamNet, their groups of parameters, their test over many sizes of an image; what a checkpoint of each version of
the Hamburger holds; hams of any rank, with kept bases.

    tests/golden/make_hamnet.py CLONE [--check | --list]        CLONE: of github.com/Gsunshine/Enjoy-Hamburger;
                                                                else as make_layers.py

Network, loss, groups, schedule, padding and the test are theirs, run as they are; the program here only makes the
network small (a ResNet-50 with 1 channel for 32), hands in data, keeps the bases of the ham the same, so
that both sides have them, and puts empty modules in place of what only reads files, draws or counts.

    x, target                  three batches that come in turn
    state.KEY, losses, logits  what training starts from, the losses of 10 steps, the logits for the first batch then
    group.N.KEY                the number of elements of the parameters in their group N
    image, test                an image whose sides are not 1 more than a multiple of the stride; the logits that their
                               test sums over its sizes
    pad.N                      height and width N and what their pad_inf makes of an image of this side

in checkpoints.safetensors, for each version, state.KEY (with the bases that the test keeps), an image x and its logits,
and in hams.safetensors, beside what layers have: updated, the bases after an inference, and second, another one's result.
"""

import pathlib
import sys
import types

import make_hamburger as burgers
import make_layers as layers
import torch
from torch import nn

layers.AREAS.clear()
layers.Draw = burgers.Draw
CLONE = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "")
STEPS = 10


class Stub(types.ModuleType):
    """A module in which everything is there, and nothing happens."""

    def __getattr__(self, name):
        return type(name, (), {"__init__": lambda self, *args, **kwargs: None})


def authors():
    """Their modules."""
    root = CLONE / "seg" / "HamNet"
    if not (root / "network.py").is_file():
        sys.exit(f"{sys.argv[0]}: expected a clone of github.com/Gsunshine/Enjoy-Hamburger, got '{CLONE}'")
    sys.path.insert(0, str(root))
    for name in ("tensorboardX", "scipy", "scipy.io", "skimage", "metric"):
        sys.modules[name] = Stub(name)
    torch.Tensor.cuda = lambda self: self
    import hamburger
    from hamburger import bread, ham

    hamburger.ConvBNReLU = bread.ConvBNReLU  # which their network looks for here
    import network
    import settings
    import test
    import train

    return network, settings, test, train, ham


network, settings, test, train, ham = authors()


def same_bases(module, bases):
    """The ham draws these for every sample."""
    module._build_bases = lambda B, S, D, R, cuda=False: bases.repeat(B, 1, 1)
    module.bases_of_test = bases


class Backbone(network.ResNet):
    """Their ResNet-50 with w channels where it has 64."""

    def __init__(self, w):
        nn.Module.__init__(self)
        self.inplanes = 2 * w
        norm = network.norm_layer
        self.stem = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, w, 3, 2, 1, bias=False), norm(w), nn.ReLU(), nn.Conv2d(w, w, 3, 1, 1, bias=False),
                          norm(w), nn.ReLU(), nn.Conv2d(w, 2 * w, 3, 1, 1, bias=False)),
            norm(2 * w), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        make = lambda *args, **kwargs: self._make_layer(network.Bottleneck, *args, **kwargs)
        self.stages = [make(w, 3), make(2 * w, 4, stride=2), make(4 * w, 6, dilation=2),
                       make(8 * w, 3, dilation=4, grids=[1, 2, 4])]


class HamNet(network.HamNet):
    def __init__(self, classes, w, channels, aligned):
        nn.Module.__init__(self)
        backbone = Backbone(w)
        self.backbone = nn.Sequential(*backbone.stem, *backbone.stages)
        self.squeeze = network.ConvBNReLU(32 * w, channels, 3)
        self.hamburger = network.get_hamburger(settings.VERSION)(channels, settings)
        self.align = network.ConvBNReLU(channels, aligned, 3)
        self.fc = nn.Sequential(nn.Dropout2d(p=0), nn.Conv2d(aligned, classes, 1))
        self.crit = network.CrossEntropyLoss2d(ignore_index=settings.IGNORE_LABEL, reduction="none")


def small_net(draw):
    settings.VERSION, settings.HAM_TYPE, settings.DUAL = "V2+", "NMF", False
    settings.MD_D, settings.MD_R, settings.TRAIN_STEPS, settings.EVAL_STEPS = 16, 4, 6, 7
    settings.N_CLASSES, settings.ZERO_HAM = 5, False
    net = HamNet(5, 2, 16, 8)
    draw.fill(net)
    with torch.no_grad():  # scales that keep the signal as it is
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(2 * (2 / module.weight[0].numel()) ** 0.5).copy_(module.weight.float())
            if hasattr(module, "running_var"):  # few dead units, in whose norms rounding would grow
                module.weight.fill_(1)
                module.bias.abs_().add_(0.5).copy_(module.bias.float())
            if isinstance(module, network.Bottleneck):
                module.bn3.weight.fill_(0.25)
        net.hamburger.coef_ham.fill_(1)
        net.hamburger.coef_shortcut.fill_(1)
    bases = draw.uniform((1, 16, 4), 0.05, 1.0)
    same_bases(net.hamburger.ham, nn.functional.normalize(bases, dim=1).float().double())
    return net


def train_steps(f, net, x, target):
    lr = settings.LR
    keys = {"1x": dict(lr=lr, weight_decay=settings.WEIGHT_DECAY), "1y": dict(lr=lr, weight_decay=0),
            "2x": dict(lr=2 * lr, weight_decay=0)}
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    for number, key in enumerate(keys):
        f.add("hamnet", **{f"group.{number}.{names[id(p)]}": torch.tensor(p.numel()) for p in train.get_params(net, key)})
    optimizer = torch.optim.SGD([dict(params=list(train.get_params(net, key)), **options) for key, options in keys.items()],
                                momentum=settings.LR_MOM)
    losses = []
    net.train()
    for step in range(STEPS):
        train.poly_lr_scheduler(optimizer, lr, step, 1, STEPS, settings.POLY_POWER)
        loss = net(x[step % 3], target[step % 3]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def tested_logits(net, image):
    """What their test program sums for this image, in double."""
    found = []

    def images():
        yield image, ["image.jpg"]
        found.append(sys._getframe(1).f_locals["logits"])  # of their loop, when it asks for the next image

    session = types.SimpleNamespace(load_checkpoints=lambda name: None, dataloader=images(), net=net,
                                    inf_batch=lambda x: net(x).detach())
    test.TestSession = lambda split: session
    settings.TEST_SAVE_DIR = "unused"
    test.ensure_dir = lambda path: None
    test.Image = types.SimpleNamespace(
        fromarray=lambda array: types.SimpleNamespace(putpalette=lambda palette: None, save=lambda path: None))
    test.test_main()
    return found[0]


@layers.area
def hamnet(f):
    draw = burgers.Draw("hamnet")
    net = small_net(draw)
    f.name("hamnet", "HamNet, ResNet-50 with 2 channels for 64, V2+")
    x, target = draw.normal((3, 2, 3, 33, 41)), draw.labels((3, 2, 33, 41), 5)
    target[:, :, :3] = settings.IGNORE_LABEL
    f.add("hamnet", x=x, target=target, **{f"state.{key}": value for key, value in net.state_dict().items()})
    f.add("hamnet", **{"state.hamburger.ham.bases": net.hamburger.ham.bases_of_test})
    losses = train_steps(f, net, x, target)
    net.eval()
    image = draw.normal((1, 3, 30, 44))
    with torch.no_grad():
        f.add("hamnet", losses=torch.tensor(losses), logits=net(x[0]), image=image, test=tested_logits(net, image))
    for side in (1, 8, 9, 10, 160, 161):
        padded, _ = test.pad_inf(torch.zeros(1, 1, side, side + 3))
        f.add("hamnet", **{f"pad.{side}": torch.tensor([side, side + 3, *padded.shape[2:]])})


@layers.area
def checkpoints(f):
    """The state that train.py saves under 'net', for V1, V2 and V2+ with two hams, and the logits in evaluation."""
    settings.HAM_TYPE, settings.MD_R, settings.TRAIN_STEPS, settings.EVAL_STEPS = "NMF", 4, 6, 6
    settings.N_CLASSES, settings.ZERO_HAM = 5, False
    for version, dual, d in (("V1", False, 16), ("V2", False, 16), ("V2+", True, 8)):
        draw = burgers.Draw(f"checkpoint {version}")
        settings.VERSION, settings.DUAL, settings.MD_D, settings.SPATIAL = version, dual, d, True
        net = HamNet(5, 1, 16, 8)
        draw.fill(net)
        f.name(version, f"HamNet, ResNet-50 with 1 channel for 64, {version}, dual={dual}")
        x = draw.normal((1, 3, 33, 41))
        f.add(version, x=x, **{f"state.{key}": value for key, value in net.state_dict().items()})
        hams = {"ham_1": 8, "ham_2": 5 * 6} if dual else {"ham": 16}
        for name, dimension in hams.items():
            bases = nn.functional.normalize(draw.uniform((1, dimension, 4), 0.05, 1.0), dim=1).float().double()
            same_bases(getattr(net.hamburger, name), bases)
            f.add(version, **{f"state.hamburger.{name}.bases": bases})
        with torch.no_grad():
            f.add(version, logits=net.eval()(x))


@layers.area
def hams(f):
    """Their hams with kept bases (R is above d in the first, above d and n in the second), twice in evaluation."""
    for kind, make in (("nmf", ham.NMF2D), ("vq", ham.VQ2D), ("cd", ham.CD2D)):
        for name, shape, rank in (("narrow", (2, 5, 4, 5), 9), ("wide", (2, 6, 2, 4), 12), ("usual", (3, 9, 4, 5), 4)):
            case = f"{kind}/{name}"
            draw = burgers.Draw(f"authors {case}")
            f.name(case, f"{make.__name__}, {shape}, rank {rank}")
            x = draw.uniform(shape) if kind == "nmf" else draw.normal(shape)
            module = make(types.SimpleNamespace(MD_D=shape[1], MD_R=rank, TRAIN_STEPS=3, EVAL_STEPS=4, INV_T=10,
                                               RAND_INIT=False))
            bases = nn.functional.normalize(draw.uniform((1, shape[1], rank), 0.05, 1.0), dim=1)
            module.register_buffer("bases", bases)
            f.add(case, **{"x": x, "state.bases": bases})
            x = x.requires_grad_()
            y = module.train()(x)
            dy = draw.normal(shape)
            y.backward(dy)
            f.add(case, y=y, dy=dy, dx=x.grad)
            with torch.no_grad():
                f.add(case, infer=module.eval()(x), updated=module.bases.clone(), second=module(x))


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    sys.exit(layers.main())

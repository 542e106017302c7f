#!/usr/bin/python3
"""Makes contexts.safetensors and segnext.safetensors with the authors' own programs: the context modules of APCNet,
DMNet and CFNet; LightHam, MSCAN and SegNeXt.

    tests/golden/make_segmentation.py SEGNEXT ENCODING [--check | --list]        else as make_layers.py

    SEGNEXT     a clone of github.com/Visual-Attention-Network/SegNeXt, whose mmsegmentation has APCNet's and DMNet's
                heads too, the first by its authors
    ENCODING    a clone of github.com/zhanghang1989/PyTorch-Encoding, CFNet's

The modules are theirs, run as they are; the program here only stands in for what of mmcv they use, makes them small,
draws weights, and keeps the bases of the ham the same.
"""

import importlib
import importlib.util
import pathlib
import sys
import types

import make_hamburger as burgers
import make_layers as layers
import torch
from torch import nn

layers.AREAS.clear()
layers.Draw = burgers.Draw


def clone(file):
    """The folder of the next argument, which has this file."""
    root = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "")
    if not (root / file).is_file():
        sys.exit(f"{sys.argv[0]}: expected a clone with {file}, got '{root}'")
    return root


SEGNEXT, ENCODING = clone("mmseg/models/backbones/mscan.py"), clone("encoding/nn/attention.py")


# --- what stands in for mmcv ------------------------------------------------------------------------------------------


def build_norm_layer(config, channels):
    if config["type"] == "GN":
        return "gn", nn.GroupNorm(config["num_groups"], channels)
    return "bn", nn.BatchNorm2d(channels)


class ConvModule(nn.Module):
    """A convolution, with a bias if there is no norm; the norm; the activation."""

    def __init__(self, in_channels, out_channels, kernel_size, padding=0, conv_cfg=None, norm_cfg=None,
                 act_cfg=dict(type="ReLU")):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=norm_cfg is None)
        self.norm_name = None
        if norm_cfg is not None:
            self.norm_name, norm = build_norm_layer(norm_cfg, out_channels)
            self.add_module(self.norm_name, norm)
        self.activate = nn.ReLU() if act_cfg else nn.Identity()

    def forward(self, x):
        x = self.conv(x)
        return self.activate(getattr(self, self.norm_name)(x) if self.norm_name else x)


class DropPath(nn.Identity):
    def __init__(self, p):
        super().__init__()


class Stub(types.ModuleType):
    """A module in which everything is there: decorators that change nothing, names that do nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: lambda decorated: decorated


def stand_in(name, **contents):
    module = sys.modules[name] = Stub(name)
    for key, value in contents.items():
        setattr(module, key, value)


class Registry:
    def register_module(self):
        return lambda cls: cls


def authors():
    """The modules of their programs that are wanted, none of the others."""

    class BaseModule(nn.Module):
        def __init__(self, init_cfg=None):
            super().__init__()

    stand_in("mmcv")
    stand_in("mmcv.cnn", ConvModule=ConvModule, build_norm_layer=build_norm_layer,
             build_activation_layer=lambda config: nn.ReLU())
    stand_in("mmcv.cnn.bricks", DropPath=DropPath)
    stand_in("mmcv.cnn.utils")
    stand_in("mmcv.cnn.utils.weight_init")
    stand_in("mmcv.runner", BaseModule=BaseModule)
    for package in ("mmseg", "mmseg.models", "mmseg.models.decode_heads", "mmseg.models.backbones"):
        module = sys.modules[package] = types.ModuleType(package)
        module.__path__ = [str(SEGNEXT / package.replace(".", "/"))]
    stand_in("mmseg.core")
    stand_in("mmseg.models.builder", HEADS=Registry(), BACKBONES=Registry(), build_loss=lambda config: None)
    stand_in("mmseg.models.losses")
    ops = importlib.util.spec_from_file_location("mmseg.ops", SEGNEXT / "mmseg/ops/wrappers.py")
    sys.modules["mmseg.ops"] = importlib.util.module_from_spec(ops)
    ops.loader.exec_module(sys.modules["mmseg.ops"])
    for package in ("encoding", "encoding.nn"):
        module = sys.modules[package] = types.ModuleType(package)
        module.__path__ = [str(ENCODING / package.replace(".", "/"))]
    stand_in("encoding.nn.syncbn", SyncBatchNorm=nn.BatchNorm2d)
    torch.Tensor.cuda = lambda self: self
    return [importlib.import_module(name) for name in
            ("mmseg.models.decode_heads.apc_head", "mmseg.models.decode_heads.dm_head",
             "mmseg.models.decode_heads.ham_head", "mmseg.models.backbones.mscan", "encoding.nn.attention")]


apc, dm, ham, mscan, acf = authors()
BATCH = dict(type="BN")


class Pyramid(nn.Module):
    """What a head joins, before its bottleneck."""

    def __init__(self, name, head):
        super().__init__()
        self.name = name
        setattr(self, name, getattr(head, name))

    def forward(self, x):
        return torch.cat([x] + [module(x) for module in getattr(self, self.name)], dim=1)


@layers.area
def contexts(f):
    def shared(module):  # conv_ks is conv_qs: once in the state
        del module._modules["conv_ks"]
        module.__dict__["conv_ks"] = module.conv_qs
        module.attention.dropout.p = 0.0
        return module

    for name, scale, size in (("one", 1, (3, 6, 4, 5)), ("three", 3, (3, 6, 7, 5)), ("coarse", 6, (3, 6, 4, 3))):
        f.layer(f"apc/{name}", apc.ACM(scale, True, 6, 4, None, BATCH, dict(type="ReLU")), size)
    head = apc.APCHead(in_channels=8, channels=4, num_classes=2, norm_cfg=BATCH)
    f.layer("apc/pyramid", Pyramid("acm_modules", head), (3, 8, 8, 9))
    for name, k, fusion in (("one", 1, True), ("three", 3, False), ("four", 4, True), ("seven", 7, True)):
        f.layer(f"dm/{name}", dm.DCM(k, fusion, 6, 4, None, BATCH, dict(type="ReLU")), (2, 6, 7, 8))
    head = dm.DMHead(in_channels=4, channels=4, num_classes=2, fusion=True, norm_cfg=BATCH)
    f.layer("dm/pyramid", Pyramid("dcm_modules", head), (2, 4, 8, 9))
    f.layer("acf/two", shared(acf.ACFModule(2, 1, 8, 4, 4, norm_layer=nn.BatchNorm2d)), (2, 8, 4, 6))
    f.layer("acf/one", shared(acf.ACFModule(1, 1, 6, 6, 6, norm_layer=nn.BatchNorm2d)), (1, 6, 8, 10))


class SegNeXt(nn.Module):
    """Their EncoderDecoder."""

    def __init__(self, backbone, decode_head):
        super().__init__()
        self.backbone, self.decode_head = backbone, decode_head

    def forward(self, x):
        return sys.modules["mmseg.ops"].resize(self.decode_head(self.backbone(x)), size=x.shape[2:], mode="bilinear",
                                               align_corners=False)


def light_ham(channels, classes, d, r, groups):
    head = ham.LightHamHead(in_channels=channels, in_index=list(range(1, 1 + len(channels))), channels=d, ham_channels=d,
                            ham_kwargs=dict(MD_R=r, TRAIN_STEPS=3, EVAL_STEPS=4), dropout_ratio=0, num_classes=classes,
                            norm_cfg=dict(type="GN", num_groups=groups), align_corners=False)
    head.hamburger.ham.rand_init = False
    head.hamburger.ham.register_buffer("bases", torch.zeros(1, d, r))
    return head


@layers.area
def segnext(f):
    f.layer("attention", mscan.AttentionModule(3), (2, 3, 6, 5))

    class Block(mscan.Block):
        def forward(self, x):
            n, c, h, w = x.shape
            return super().forward(x.flatten(2).transpose(1, 2), h, w).transpose(1, 2).reshape(n, c, h, w)

    f.layer("block", Block(4, mlp_ratio=2.0, norm_cfg=BATCH), (2, 4, 5, 6))
    backbone = mscan.MSCAN(embed_dims=[4, 6, 8, 8], mlp_ratios=[4, 2, 2, 2], depths=[1, 2, 1, 1], norm_cfg=BATCH)
    f.layer("segnext", SegNeXt(backbone, light_ham([6, 8, 8], 3, 8, 3, 2)), (2, 3, 40, 51))


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    sys.exit(layers.main())

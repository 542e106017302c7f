#!/usr/bin/env python3
"""Turns weights saved by PyTorch into a safetensors file for Lamina; needs PyTorch and nothing else.

    convert_weights.py resnet18-f37072fd.pth resnet18.safetensors
    convert_weights.py --entry state_dict --strip module. checkpoint.pth.tar model.safetensors
    convert_weights.py ViT-B-32.pt clip.safetensors                OpenAI's CLIP, a TorchScript archive
    convert_weights.py --random resnet18 resnet18.safetensors      torchvision's network, drawn weights, for a trial

The file must hold a state_dict: tensors by name (OpenAI's and open_clip's checkpoints, Hugging Face's
pytorch_model.bin), or be a TorchScript archive, of which the parameters and buffers are taken. Names and numbers stay as they are, in row-major order, except that
BatchNorm counters that old files lack are added as 0, and the names of torchvision's old DenseNet files
(denselayer1.norm.1) become today's (denselayer1.norm1), as torchvision does when it loads them.
"""

import argparse
import json
import math
import os
import re
import struct
import sys
import zipfile

import torch

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # NumPy has no bfloat16


def fail(message):
    sys.exit(f"convert_weights.py: {message}")


def check(state, path):
    """Refuses what is not a state_dict of plain tensors."""
    if isinstance(state, torch.nn.Module):
        fail(f"{path}: holds a whole module; save its state_dict()")
    if not isinstance(state, dict) or not state:
        fail(f"{path}: holds no state_dict but a {type(state).__name__}")
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            entries = ", ".join(k for k, v in state.items() if isinstance(v, dict))
            hint = f"; choose with --entry: {entries}" if entries else ""
            fail(f"{path}: '{key}' is not a tensor but a {type(value).__name__}{hint}")
        if value.layout != torch.strided or value.is_quantized or value.dtype not in DTYPES:
            fail(f"{path}: '{key}' is {value.dtype}, {value.layout}; only plain dense tensors of real numbers can be saved")


def modern(state):
    """Today's names, and the counters that BatchNorm has had since PyTorch 0.4.1."""
    result = {}
    for key, value in state.items():
        key = re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", key)
        result[key] = value
        counter = re.sub(r"running_var$", "num_batches_tracked", key)
        if counter != key and counter not in state:
            result[counter] = torch.tensor(0)
    return result


def is_torchscript(path):
    """Whether a file is an archive of torch.jit.save, which has the code beside the tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def loaded(path):
    """What a file holds; runs no Python code from it, and no forward."""
    if is_torchscript(path):
        return dict(torch.jit.load(path, map_location="cpu").state_dict())
    return torch.load(path, map_location="cpu", weights_only=True)


def drawn(name, seed):
    """torchvision's network with drawn weights; BatchNorm's statistics and the last layer's scale are made to matter."""
    import torchvision

    torch.manual_seed(seed)
    make = getattr(torchvision.models, name, None)
    if not callable(make):
        fail(f"torchvision has no model {name}")
    net = make(weights=None, **({"init_weights": True} if name == "googlenet" else {}))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, torch.nn.Linear):
            module.weight.data.normal_(0, 3 / math.sqrt(module.in_features))
    return net.state_dict()


def write_safetensors(path, state):
    """Header length, JSON header padded to 8 bytes, data in little-endian; wide types first, which aligns all."""
    if sys.byteorder != "little":
        fail("needs a little-endian machine")
    header, end = {"__metadata__": {"format": "pt"}}, 0
    order = sorted(state, key=lambda key: -state[key].element_size())
    for key in order:
        begin, end = end, end + state[key].numel() * state[key].element_size()
        header[key] = {"dtype": DTYPES[state[key].dtype], "shape": list(state[key].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = f"{path}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for key in order:
                values = state[key].detach().cpu().contiguous().reshape(-1)
                file.write(values.view(BITS[values.element_size()]).numpy().tobytes() if len(values) else b"")
        os.replace(partial, path)
    except OSError as error:
        if os.path.exists(partial):
            os.remove(partial)
        fail(f"{path}: {error.strerror}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", nargs="?", help="a .pth or .pt file")
    parser.add_argument("output", help="the safetensors file")
    parser.add_argument("--entry", help="where in the input's dictionary the state_dict is")
    parser.add_argument("--strip", default="", metavar="PREFIX", help="what to take off the names, such as module.")
    parser.add_argument("--random", metavar="NAME", help="a network of torchvision, instead of an input")
    parser.add_argument("--seed", type=int, default=0, help="for --random")
    options = parser.parse_args()
    if (options.input is None) == (options.random is None):
        parser.error("give an input or --random")

    if options.random:
        state, source = drawn(options.random, options.seed), options.random
    else:
        source = options.input
        try:
            state = loaded(source)
        except OSError as error:
            fail(f"{source}: {error.strerror}")
        except Exception as error:  # a foreign or damaged file is any of several
            fail(f"{source}: not a file of tensors: {str(error).splitlines()[0]}")
        if options.entry:
            if not isinstance(state, dict) or options.entry not in state:
                fail(f"{source}: has no entry '{options.entry}'")
            state = state[options.entry]
    check(state, source)
    state = modern({key.removeprefix(options.strip): value for key, value in state.items()})
    write_safetensors(options.output, state)
    print(f"{options.output}: {len(state)} tensors, {sum(math.prod(v.shape) for v in state.values()):,} numbers")


if __name__ == "__main__":
    main()

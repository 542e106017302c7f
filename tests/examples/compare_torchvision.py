#!/usr/bin/python3
"""Compares classify_image with torchvision: drawn weights through convert_weights.py, photographs through both.

    tests/examples/compare_torchvision.py build/release/examples/classify_image PHOTO... [--models resnet18,...]

Photographs reach both as PNG files, since JPEG decoders differ by a bit. Fails if the five largest probabilities differ
by more than 1e-4. Beside that prints how far torchvision's results are from its own on PIL images, whose resized pixels
are rounded to bytes. Needs Debian's python3-torch, python3-torchvision and python3-pil.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import torch
import torchvision
from PIL import Image
from torchvision.transforms import functional as F

CONVERT = pathlib.Path(__file__).resolve().parents[2] / "examples" / "convert_weights.py"
SEED = 3


def probabilities(net, image):
    """For a PIL image, or its pixels as numbers in [0, 1]."""
    image = F.center_crop(F.resize(image, 256, antialias=True), 224)
    image = image if isinstance(image, torch.Tensor) else F.to_tensor(image)
    image = F.normalize(image, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        return torch.softmax(net(image[None]), 1)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--models", type=lambda text: text.split(","), default=["resnet18", "mobilenet_v2", "densenet121"])
    options = parser.parse_args()
    sys.path.insert(0, str(CONVERT.parent))
    from convert_weights import drawn

    worst = 0
    with tempfile.TemporaryDirectory() as directory:
        for model in options.models:
            weights = f"{directory}/{model}.safetensors"
            subprocess.run([sys.executable, CONVERT, "--random", model, "--seed", str(SEED), weights], check=True)
            net = getattr(torchvision.models, model)(weights=None, **({"init_weights": False} if model == "googlenet" else {}))
            net.load_state_dict(drawn(model, SEED))
            net.eval()
            for photo in options.photos:
                image = Image.open(photo).convert("RGB")
                png = f"{directory}/{pathlib.Path(photo).stem}.png"
                image.save(png)
                table = subprocess.run([options.program, "--model", model, "--weights", weights, png],
                                       check=True, capture_output=True, text=True).stdout.splitlines()[2:]
                got = {int(name): float(p) for p, name in (line.split() for line in table)}
                expected = probabilities(net, F.to_tensor(image))
                top, classes = expected.topk(5)
                difference = max(abs(got[int(c)] - float(p)) if int(c) in got else 1 for p, c in zip(top, classes))
                rounded = float((probabilities(net, image) - expected).abs().max())
                print(f"{model:20} {pathlib.Path(photo).name:30} {image.width} x {image.height}  largest {top[0]:.6f}  "
                      f"difference {difference:.1e}  (PIL's rounding: {rounded:.1e})")
                worst = max(worst, difference)
    sys.exit(0 if worst < 1e-4 else f"the largest difference is {worst:.1e}")


if __name__ == "__main__":
    main()

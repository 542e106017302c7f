#!/usr/bin/python3
"""Times Lamina against PyTorch on the same work, in alternation, and prints a table of ratios.

Each round times one side, then the other, so that both see the same machine; a figure is the mean over a fifth of a
second (--seconds) of repetitions after a warm-up. The table has the median over the rounds, in milliseconds, with the
minimum beside it, and PyTorch's median divided by Lamina's: above 1, Lamina is faster.

  infer   PyTorch: inference_mode() on a module in eval()
  train   a layer: zero_grad, forward, sum, backward with the gradient of the input
          a network: zero_grad, forward, cross entropy, backward, a step of plain SGD

Needs python3-torch, and the benchmark programs: cmake --workflow --preset release builds them.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

# As in bench_layers.cpp: the input (N, C, H, W), output channels, kernel, stride, padding, groups.
CONVOLUTIONS = {
    "conv/resnet_stem": (1, 3, 224, 224, 64, 7, 2, 3, 1),
    "conv/3x3_64_56": (1, 64, 56, 56, 64, 3, 1, 1, 1),
    "conv/3x3_128_28": (1, 128, 28, 28, 128, 3, 1, 1, 1),
    "conv/3x3_256_14": (1, 256, 14, 14, 256, 3, 1, 1, 1),
    "conv/3x3_512_7": (1, 512, 7, 7, 512, 3, 1, 1, 1),
    "conv/3x3_s2_128_56": (1, 128, 56, 56, 128, 3, 2, 1, 1),
    "conv/1x1_64_256_56": (1, 64, 56, 56, 256, 1, 1, 0, 1),
    "conv/1x1_1024_256_14": (1, 1024, 14, 14, 256, 1, 1, 0, 1),
    "conv/1x1_512_512_128": (1, 512, 128, 128, 512, 1, 1, 0, 1),
    "conv/vgg_64_224": (1, 64, 224, 224, 64, 3, 1, 1, 1),
    "conv/alexnet_11x11": (1, 3, 224, 224, 96, 11, 4, 1, 1),
    "conv/alexnet_5x5": (1, 96, 27, 27, 256, 5, 1, 2, 1),
    "conv/grouped_32_56": (1, 128, 56, 56, 128, 3, 1, 1, 32),
    "conv/depthwise_32_112": (1, 32, 112, 112, 32, 3, 1, 1, 32),
    "conv/depthwise_512_14": (1, 512, 14, 14, 512, 3, 1, 1, 512),
    "conv/depthwise_s2_128_56": (1, 128, 56, 56, 128, 3, 2, 1, 128),
    "conv/pixelcnn_b8": (8, 128, 28, 28, 128, 3, 1, 1, 1),
    "conv/lenet1_b256": (256, 1, 28, 28, 6, 5, 1, 2, 1),
    "conv/lenet2_b256": (256, 6, 14, 14, 16, 5, 1, 0, 1),
    "conv/3x3_64_56_b8": (8, 64, 56, 56, 64, 3, 1, 1, 1),
    "conv/3x3_256_14_b8": (8, 256, 14, 14, 256, 3, 1, 1, 1),
    "conv/1x1_64_256_56_b8": (8, 64, 56, 56, 256, 1, 1, 0, 1),
}
# torchvision's, at batch 8.
NETWORKS = [f"net/{name}_b8" for name in ("alexnet", "vgg11", "googlenet", "resnet18", "resnet50", "densenet121",
                                          "mobilenet_v2", "mobilenet_v3_large")]
PROGRAMS = ("bench_models", "bench_layers")


def torch_case(name):
    """The module and its input."""
    import torch
    from torch import nn

    if name in CONVOLUTIONS:
        n, c, h, w, m, kernel, stride, padding, groups = CONVOLUTIONS[name]
        return nn.Conv2d(c, m, kernel, stride, padding, groups=groups), torch.randn(n, c, h, w)
    if name == "norm/local_response_96_55":
        return nn.LocalResponseNorm(5, 5e-4, 0.75, 2), torch.randn(8, 96, 55, 55)
    if name == "net/lenet_b256":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
            nn.Linear(84, 10)), torch.randn(256, 1, 28, 28)
    if name in NETWORKS:
        from torchvision import models

        options = {"aux_logits": False, "init_weights": False} if name == "net/googlenet_b8" else {}
        return getattr(models, name[4:-3])(**options), torch.randn(8, 3, 224, 224)
    return None


def torch_worker(threads, seconds):
    """Answers each line of standard input, the name of a benchmark, with the mean milliseconds, or null."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cached = None, None
    for line in sys.stdin:
        name, mode = line.strip().rsplit("/", 1)
        if cached[0] != name:
            cached = name, torch_case(name)
        if cached[1] is None:
            print("null", flush=True)
            continue
        module, x = cached[1]
        network = name.startswith("net/")
        if mode == "infer":
            module.eval()

            def run():
                with torch.inference_mode():
                    module(x)
        else:
            module.train()
            optimizer = torch.optim.SGD(module.parameters(), 1e-3)
            inputs = x.clone().requires_grad_(not network)
            labels = torch.zeros(len(x), dtype=torch.long)

            def run():
                optimizer.zero_grad(set_to_none=False)
                y = module(inputs)
                (F.cross_entropy(y, labels) if network else y.sum()).backward()
                if network:
                    optimizer.step()

        for _ in range(3):
            run()
        start, runs = time.perf_counter(), 0
        while runs < 3 or time.perf_counter() - start < seconds:
            run()
            runs += 1
        print((time.perf_counter() - start) / runs * 1e3, flush=True)


def benchmarks(build):
    """(program, benchmark) pairs that the built programs offer."""
    for program in PROGRAMS:
        path = build / "bench" / program
        if not path.exists():
            sys.exit(f"compare_torch.py: there is no {path}; build it first: cmake --workflow --preset release")
        listing = subprocess.run([path, "--benchmark_list_tests"], check=True, capture_output=True, text=True).stdout
        for name in listing.split():
            yield path, name


def lamina_time(path, name, threads, seconds):
    environment = {**os.environ, "LAMINA_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [path, f"--benchmark_filter=^{name}$", "--benchmark_format=json", f"--benchmark_min_time={seconds}"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            env=environment).stdout
    return json.loads(output)["benchmarks"][0]["real_time"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only benchmarks whose names contain this, e.g. lenet or /train")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each benchmark (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.2, help="seconds of one round's side (default: 0.2)")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "build/release",
                        help="build directory (default: build/release)")
    parser.add_argument("--torch-worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch_worker:
        torch_worker(arguments.torch_worker, arguments.seconds)
        return

    selected = [pair for pair in benchmarks(arguments.build) if arguments.only in pair[1]]
    if not selected:
        sys.exit(f"compare_torch.py: no benchmark's name contains '{arguments.only}'")
    if subprocess.run([sys.executable, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode:
        sys.exit(f"compare_torch.py: {sys.executable} has no PyTorch (Debian: apt-get install python3-torch, and run "
                 "this with /usr/bin/python3)")
    print("| benchmark | threads | Lamina ms (min) | PyTorch ms (min) | PyTorch / Lamina |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for threads in arguments.threads:
        worker = subprocess.Popen(
            [sys.executable, __file__, "--torch-worker", str(threads), "--seconds", str(arguments.seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)})
        for path, name in selected:
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(lamina_time(path, name, threads, arguments.seconds))
                worker.stdin.write(name + "\n")
                worker.stdin.flush()
                answer = worker.stdout.readline()
                if not answer:
                    sys.exit(f"compare_torch.py: PyTorch's side ended on {name}")
                theirs.append(json.loads(answer))
            if None in theirs:
                print(f"| {name} | {threads} | {statistics.median(ours):.3f} ({min(ours):.3f}) | - | - |", flush=True)
                continue
            a, b = statistics.median(ours), statistics.median(theirs)
            print(f"| {name} | {threads} | {a:.3f} ({min(ours):.3f}) | {b:.3f} ({min(theirs):.3f}) | {b / a:.2f} |",
                  flush=True)
        worker.stdin.close()
        worker.wait()


if __name__ == "__main__":
    main()

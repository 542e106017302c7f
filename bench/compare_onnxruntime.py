#!/usr/bin/python3
"""Times Lamina's plans against ONNX Runtime in alternation, and prints a table of ratios: eight networks on torchvision's
graphs, one image of 224 x 224, and those of export_onnx on Lamina's own export.

Each round times ONNX Runtime, then Lamina's infer, plan and plan_bfloat16; the table has the smallest of the rounds'
times. Ratio: ONNX Runtime's milliseconds divided by Lamina's; above 1, Lamina is faster. With
--cpu the times are those of the processors, not the clock's: for one thread on a machine that others use too.

Needs npm's onnxruntime-node in a folder (npm i onnxruntime-node --ignore-scripts --prefix FOLDER), python3-torch and
python3-torchvision to export the graphs to it, and bench_models and export_onnx: cmake --workflow --preset release builds
them.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

OWN = ("lenet_b256", "pixelcnn_b8", "hamnet_resnet18", "clip_resnet18", "clip_vit_b32", "clip_text_l77", "distilbert_b8_l64")
NETWORKS = ("alexnet", "vgg11", "googlenet", "resnet18", "resnet50", "densenet121", "mobilenet_v2", "mobilenet_v3_large")
SIDES = ("infer", "plan", "plan_bfloat16")

# Answers with the milliseconds of the fastest of the runs.
RUNTIME = """
const ort = require('onnxruntime-node');
const [file, threads, runs, cpu, type, largest, ...shape] = process.argv.slice(1);
(async () => {
  const session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: +threads, interOpNumThreads: 1, graphOptimizationLevel: 'all'});
  const size = shape.reduce((product, n) => product * +n, 1);
  const values = type === 'int64' ? BigInt64Array.from({length: size}, () => BigInt(Math.floor(Math.random() * +largest)))
                                  : Float32Array.from({length: size}, Math.random);
  const x = new ort.Tensor(type, values, shape.map(Number));
  let best = Infinity;
  for (let i = 0; i < +runs + 3; ++i) {
    const clock = performance.now(), used = process.cpuUsage();
    await session.run({x});
    const after = process.cpuUsage(used);
    const time = cpu === '1' ? (after.user + after.system) / 1000 : performance.now() - clock;
    if (i >= 3) best = Math.min(best, time);
  }
  console.log(best);
})();
"""


def export(folder, name):
    import torch
    import torchvision.models as models

    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = getattr(models, name)(**options).eval()
    torch.onnx.export(model, torch.randn(1, 3, 224, 224), folder / f"{name}.onnx", opset_version=13, input_names=["x"],
                      output_names=["y"])


def export_own(arguments):
    """Their inputs: type, largest id, shape."""
    output = subprocess.run([arguments.build / "bench" / "export_onnx", arguments.folder], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    return {name: words for name, *words in map(str.split, output.splitlines())}


def runtime_ms(arguments, name, threads, given):
    command = ["node", "-e", RUNTIME, str(arguments.folder / f"{name}.onnx"), str(threads), "12",
               str(int(arguments.cpu)), *given]
    environment = {**os.environ, "NODE_PATH": str(arguments.folder / "node_modules")}
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)


def lamina_ms(arguments, name, threads):
    """Milliseconds by side."""
    command = [arguments.build / "bench" / "bench_models", f"--benchmark_filter=^net/{name}/({'|'.join(SIDES)})$",
               "--benchmark_format=json", "--benchmark_min_time=0.05", "--benchmark_repetitions=8"]
    environment = {**os.environ, "LAMINA_NUM_THREADS": str(threads)}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            env=environment).stdout
    times = {}
    for run in json.loads(output)["benchmarks"]:
        if run.get("run_type") == "iteration":
            side = run["run_name"].rsplit("/", 1)[1]
            times.setdefault(side, []).append(run["cpu_time" if arguments.cpu else "real_time"])
    return {side: min(values) for side, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="with node_modules; the graphs are exported to it")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=NETWORKS + OWN, default=NETWORKS + OWN, metavar="NETWORK")
    parser.add_argument("--cpu", action="store_true", help="processor time in place of the clock's, for one thread")
    arguments = parser.parse_args()
    if arguments.cpu and arguments.threads != [1]:
        sys.exit("compare_onnxruntime.py: --cpu is for one thread")
    if not (arguments.folder / "node_modules" / "onnxruntime-node").is_dir():
        sys.exit(f"compare_onnxruntime.py: no onnxruntime-node in {arguments.folder}: npm i onnxruntime-node "
                 f"--ignore-scripts --prefix {arguments.folder}")
    inputs = export_own(arguments)
    for name in arguments.only:
        if name in NETWORKS:
            inputs[name] = ["float32", "0", "1", "3", "224", "224"]
            if not (arguments.folder / f"{name}.onnx").exists():
                export(arguments.folder, name)
    for threads in arguments.threads:
        print(f"| {threads} thread{'s' if threads > 1 else ''} | ONNX Runtime, ms | " +
              " | ".join(f"{side}, ms | ratio" for side in SIDES) + " |")
        print("| --- |" + " ---: |" * (1 + 2 * len(SIDES)))
        products = dict.fromkeys(SIDES, 1.0)
        for name in arguments.only:
            theirs, ours = float("inf"), dict.fromkeys(SIDES, float("inf"))
            for _ in range(arguments.rounds):
                theirs = min(theirs, runtime_ms(arguments, name, threads, inputs[name]))
                for side, time in lamina_ms(arguments, name, threads).items():
                    ours[side] = min(ours[side], time)
            cells = "".join(f" {ours[side]:.2f} | {theirs / ours[side]:.2f} |" for side in SIDES)
            print(f"| {name} | {theirs:.2f} |{cells}", flush=True)
            for side in SIDES:
                products[side] *= theirs / ours[side] if name in NETWORKS else 1
        count = sum(name in NETWORKS for name in arguments.only)
        if count:
            means = "".join(f" | {products[side] ** (1 / count):.2f} |" for side in SIDES)
            print(f"| geometric mean of torchvision's | |{means}\n", flush=True)


if __name__ == "__main__":
    main()

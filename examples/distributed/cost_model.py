#!/usr/bin/env python3
"""The time of a training step on n ranks, from measured compute, bytes, latency and bandwidth, as a table.

    cost_model.py                                   ResNet-50 and DistilBERT to 64 ranks, 10 and 100 Gbit/s
    cost_model.py --forward 120 --backward 240 --parameters 25.6 --gbit 25 --latency 20    a network and net of yours

A bucket of S bytes takes the ring's time (Thakur, Rabenseifner, Gropp 2005, section 4.4)

    t(S) = 2 (n - 1) latency + 2 (n - 1) / n S / bandwidth,

is ready when backward has come so far (gradients are taken to be finished evenly, by bytes), and follows the bucket before
it. A step ends with backward or with the last bucket, whichever is later. Computing is taken to be as fast as on one rank:
ranks have cores, memory and caches of their own. bfloat16 halves the bytes and doubles the messages' number.
"""

import argparse


def ring(size, ranks, latency, bandwidth):
    return 2 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * size / bandwidth


def step(forward, backward, megabytes, ranks, gbit, latency, bucket=4.0, overlap=True, half=False):
    """Seconds; forward, backward and latency in seconds, sizes in MB."""
    if ranks == 1:
        return forward + backward
    bandwidth = gbit * 1e9 / 8
    count = max(1, round(megabytes / bucket))
    size = megabytes * 1e6 / count * (0.5 if half else 1)
    end = 0.0
    for i in range(1, count + 1):
        ready = forward + backward * (i / count if overlap else 1)
        end = max(ready, end) + ring(size, ranks, latency * (2 if half else 1), bandwidth)
    return max(forward + backward, end)


def table(name, forward, backward, parameters, nets, latency):
    megabytes = 4 * parameters
    print(f"\n{name}: {parameters:.1f} million parameters, forward {forward:.0f} ms, backward {backward:.0f} ms\n")
    print("| ranks | " + " | ".join(f"{gbit:g} Gbit/s, {how}" for gbit in nets for how in ("after", "during", "bfloat16")) + " |")
    print("| ---: |" + " ---: |" * (3 * len(nets)))
    for ranks in (1, 2, 4, 8, 16, 32, 64):
        cells = []
        for gbit in nets:
            for overlap, half in ((False, False), (True, False), (True, True)):
                one = step(forward / 1e3, backward / 1e3, megabytes, 1, gbit, latency)
                many = step(forward / 1e3, backward / 1e3, megabytes, ranks, gbit, latency, overlap=overlap, half=half)
                cells.append(f"{1e3 * many:.0f} ms, {100 * one / many:.0f} %")
        print(f"| {ranks} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forward", type=float, help="milliseconds of a forward on one rank")
    parser.add_argument("--backward", type=float, help="milliseconds of a backward with the optimiser's step")
    parser.add_argument("--parameters", type=float, help="millions")
    parser.add_argument("--gbit", type=float, nargs="+", default=[10, 100], help="bandwidths of a link, Gbit/s")
    parser.add_argument("--latency", type=float, default=30, help="of a message, microseconds")
    args = parser.parse_args()
    latency = args.latency * 1e-6
    if args.parameters:
        table("The network", args.forward, args.backward, args.parameters, args.gbit, latency)
        return
    for name, forward, backward, parameters in MEASURED:
        table(name, forward, backward, parameters, args.gbit, latency)


# Milliseconds of one rank of one core of a Zen 4, batch 8 (DistilBERT: 64 tokens each), by bench_distributed, a third of
# them taken for forward; and of a node that is thirty times as fast.
MEASURED = [
    ("ResNet-50, one core", 608, 1217, 25.557),
    ("ResNet-50, a node thirty times as fast", 20.3, 40.6, 25.557),
    ("DistilBERT, one core", 365, 730, 66.363),
    ("DistilBERT, a node thirty times as fast", 12.2, 24.3, 66.363),
]

if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Measures what it costs to compile with Lamina: processor seconds and peak memory of the compiler, at -O2.

Sources: an empty one with <Eigen/Core>, one with <lamina/lamina.hpp>, and the README's first listing, LeNet's training,
header-only, as it compiles where lamina::compiled is linked, and so with lamina.hpp precompiled. With --check the exit
status is 1 if a budget is exceeded.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EIGEN, INCLUDE = "<Eigen/Core>", "<lamina/lamina.hpp>"
BUDGETS = {  # times Eigen's seconds, seconds, megabytes
    INCLUDE: (1.6, None, None),
    "README: LeNet": (None, 10, 500),
    "README: LeNet, lamina::compiled": (None, 4, 350),
}


def listing():
    found = re.search(r"^```cpp\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    if not found:
        sys.exit("compile_time.py: README.md has no cpp listing")
    return found.group(1)


def compile_once(command, source):
    """(processor seconds, megabytes) of one run of the compiler."""
    process = subprocess.Popen([*command, source])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"compile_time.py: {source} does not compile")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--eigen", default="/usr/include/eigen3", help="Eigen's include directory")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many runs counts (default: 3)")
    parser.add_argument("--check", action="store_true", help="fail if a budget is exceeded")
    arguments = parser.parse_args()

    lenet, compiled, precompiled = listing(), ["-DLAMINA_COMPILED"], ["-DLAMINA_COMPILED", "-include", "lamina.pch.hpp"]
    sources = [(EIGEN, "#include <Eigen/Core>\n", []), (INCLUDE, "#include <lamina/lamina.hpp>\n", []),
               ("README: LeNet", lenet, []), ("README: LeNet, lamina::compiled", lenet, compiled),
               ("README: LeNet, lamina::compiled, lamina.hpp precompiled", lenet, precompiled)]
    print("| source | seconds | MB | times <Eigen/Core> | budget |")
    print("| --- | ---: | ---: | ---: | --- |")
    kept = True
    with tempfile.TemporaryDirectory() as directory:
        flags_of_all = ["-std=c++20", "-O2", "-I", str(ROOT / "include"), "-I", directory, "-isystem", arguments.eigen]
        command = [arguments.compiler, *flags_of_all, "-c", "-o", f"{directory}/out.o"]
        source = pathlib.Path(directory) / "source.cpp"
        header = pathlib.Path(directory) / "lamina.pch.hpp"
        header.write_text("#include <lamina/lamina.hpp>\n")
        compile_once([arguments.compiler, *flags_of_all, *compiled, "-x", "c++-header", "-o", f"{header}.gch"], header)
        for name, text, flags in sources:
            source.write_text(text)
            runs = [compile_once([*command, *flags], source) for _ in range(arguments.rounds)]
            seconds, megabytes = min(run[0] for run in runs), max(run[1] for run in runs)
            if name == EIGEN:
                base = seconds
            measured = (seconds / base, seconds, megabytes)
            budget = BUDGETS.get(name, (None, None, None))
            kept = kept and all(b is None or m <= b for m, b in zip(measured, budget))
            limits = ", ".join(f"{b} {unit}" for b, unit in zip(budget, ("times", "s", "MB")) if b is not None)
            print(f"| {name} | {seconds:.2f} | {megabytes:.0f} | {seconds / base:.2f} | {limits} |", flush=True)
    if not kept:
        print("over budget")
    return 1 if arguments.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())

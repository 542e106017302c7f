#!/usr/bin/python3
"""Measures what it costs to compile with Lamina: processor seconds and peak memory of the compiler, at -O2.

Three sources: an empty one with <Eigen/Core>, one with <lamina/lamina.hpp>, and the README's first listing, LeNet's
training. Budgets: the include costs at most 2 times Eigen's seconds; the listing 12 s and 900 MB. With --check the
exit status is 1 if one is exceeded.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE_BUDGET, SECONDS_BUDGET, MEGABYTES_BUDGET = 2, 12, 900


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

    sources = {
        "<Eigen/Core>": "#include <Eigen/Core>\n",
        "<lamina/lamina.hpp>": "#include <lamina/lamina.hpp>\n",
        "README: LeNet": listing(),
    }
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        command = [arguments.compiler, "-std=c++20", "-O2", "-I", str(ROOT / "include"), "-isystem",
                   arguments.eigen, "-c", "-o", f"{directory}/out.o"]
        for name, text in sources.items():
            source = pathlib.Path(directory) / "source.cpp"
            source.write_text(text)
            runs = [compile_once(command, source) for _ in range(arguments.rounds)]
            results[name] = min(seconds for seconds, _ in runs), max(megabytes for _, megabytes in runs)

    base = results["<Eigen/Core>"][0]
    print("| source | seconds | MB | times <Eigen/Core> | budget |")
    print("| --- | ---: | ---: | ---: | --- |")
    budgets = {"<Eigen/Core>": "", "<lamina/lamina.hpp>": f"{INCLUDE_BUDGET} times",
               "README: LeNet": f"{SECONDS_BUDGET} s, {MEGABYTES_BUDGET} MB"}
    for name, (seconds, megabytes) in results.items():
        print(f"| {name} | {seconds:.2f} | {megabytes:.0f} | {seconds / base:.2f} | {budgets[name]} |")

    seconds, megabytes = results["README: LeNet"]
    kept = (results["<lamina/lamina.hpp>"][0] <= INCLUDE_BUDGET * base and seconds <= SECONDS_BUDGET
            and megabytes <= MEGABYTES_BUDGET)
    if not kept:
        print("over budget")
    return 1 if arguments.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs a golden test and looks twice at what fails: a few cases stand so near an edge (a step of adaptive size, a network
near to instability) that the processor's instruction set alone carries them over their tolerance, in the reference too.
What is wrong fails under every rounding; what fails under this machine's own only is told.

usage: roundings.py TEST_BINARY     (Catch2; its failed test cases are run again)
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

# What libtorch computes with after the machine's own: plain code, and AVX2 with two threads.
OTHERS = [{"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}, {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"}]


def judge(cases, run):
    """Exit status. run(cases, environment) gives those of `cases` that fail under it."""
    failed = run(cases, {})
    for environment in OTHERS:
        if not failed:
            break
        words = " ".join(f"{k}={v}" for k, v in environment.items())
        print(f"again with {words}: {' '.join(sorted(failed))}", flush=True)
        left = run(sorted(failed), environment)
        for case in sorted(failed - left):
            print(f"ROUNDING: {case} is within its tolerance with {words}, beyond it with this processor's own", flush=True)
        failed = left
    return 1 if failed else 0


def main():
    binary = sys.argv[1]

    def run(cases, environment):
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "report"
            names = [",".join(re.sub(r"([,\[\]*\\])", r"\\\1", case) for case in cases)] if cases else []
            done = subprocess.run([binary, *names, "-r", "junit", "-o", report], env={**os.environ, **environment})
            if done.returncode == 77 or not report.exists():
                sys.exit(done.returncode or 1)
            seen, failed = set(), set()
            for case in xml.etree.ElementTree.parse(report).iter("testcase"):
                name = case.get("name").split("/")[0] if case.get("name") not in cases else case.get("name")
                seen.add(name)
                for fault in [*case.iter("failure"), *case.iter("error")]:
                    print(fault.text)
                    failed.add(name)
            if not seen or set(cases) - seen:
                sys.exit(f"not run: {' '.join(sorted(set(cases) - seen)) or 'any case'}")
            if done.returncode and not failed:
                sys.exit(done.returncode)  # it died
            return failed

    sys.exit(judge([], run))


if __name__ == "__main__":
    main()

"""What the figures were measured on."""

import platform
import subprocess
import sys
from importlib import metadata

from worker import usable_cpus


def mkl():
    """Return the sentence that a reader of PyTorch's figures needs."""
    here = "AMD's, so this holds" if "AMD" in cpu_name() else "not AMD's, so this does not hold"
    return (
        "PyTorch multiplies matrices with Intel's MKL, which does not use AVX-512 on AMD "
        "processors but its AVX2 code, at about half the speed. The processor here is "
        f"{here}."
    )


def cpu_name():
    """Return the name of the processor, as its system gives it."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def _bfloat16():
    """Return what multiplies numbers in bfloat16 here, and why it is not AMX."""
    from fastnn.program.precision import unit_of_cpu

    unit = unit_of_cpu()
    return unit.name + (f" ({unit.reason})" if unit.reason else "")


def facts(versions):
    """Return [(name, value), ...]; `versions` is what the workers said of themselves."""
    versions = dict(versions)
    vectors, blas = versions.pop("vectors", "unknown"), versions.pop("BLAS", "unknown")
    versions |= {name: metadata.version(name) for name in ("numba", "llvmlite")}
    return [
        ("Processor", f"{cpu_name()}, {usable_cpus()} CPUs"),
        ("Vectors, as fastnn compiles for them", vectors),
        ("Products in bfloat16", _bfloat16()),
        ("System", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        ("Versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
        ("BLAS of NumPy, as threadpoolctl reports it", blas),
    ]

"""`fastnn info` and `fastnn warmup`: the machine, and the machine code for it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import fastnn

from .. import kernels
from ..kernels.codes import Unit
from ..program import threads as parallel
from ..program.precision import PRECISIONS, unit_of_cpu
from ..types import DType, Precision
from . import terminal


def run(options: Namespace) -> None:
    """Show the machine, or compile the kernels for it."""
    if options.command == "warmup":
        _warm_up(options)
    else:
        _show(options)


def _warm_up(options: Namespace) -> None:
    begin = time.perf_counter()
    fastnn.warmup(options.dtype, precision=options.precision)
    seconds = time.perf_counter() - begin
    if options.json:
        terminal.print_json({"dtype": options.dtype, "seconds": seconds, "cache": _cache()})
    else:
        terminal.say(
            "warmup", f"{seconds:.3f} s to compile or load the machine code for {options.dtype}"
        )
        terminal.say("cache", *_cache_lines(_cache()))


def _show(options: Namespace) -> None:
    facts: dict[str, Any] = {
        "processor": cpu_name(),
        "threads": {"usable": parallel.usable_cpus(), "cpus": os.cpu_count()},
        "kernels": _kernels(),
        "precision": _precisions(),
        "cache": _cache(),
        "versions": _versions(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    if options.json:
        terminal.print_json(facts)
        return
    unit = facts["kernels"]
    terminal.say("processor", facts["processor"], facts["system"])
    terminal.say(
        "threads",
        f"{facts['threads']['usable']} may be used, of {terminal.some(os.cpu_count() or 1, 'CPU')}",
    )
    if unit["reference"]:
        terminal.say("kernels", "NumPy in place of compiled kernels (FASTNN_REFERENCE)")
    else:
        wide = unit["vector_bytes"]
        terminal.say(
            "kernels",
            f"{unit['name']}: vectors of {8 * wide} bits, {wide // 4} float32 or {wide // 8} "
            "float64",
            f"tiles of {unit['tile_rows']} rows x {unit['tile_vectors']} vectors, "
            f"{'with' if unit['fma'] else 'without'} fused multiply-add",
        )
    terminal.say("precision", *_precision_lines(facts["precision"]))
    terminal.say("cache", *_cache_lines(facts["cache"]))
    installed = {name: version for name, version in facts["versions"].items() if version}
    missing = [name for name, version in facts["versions"].items() if not version]
    terminal.say(
        "versions",
        *(f"{name:<14}{version}" for name, version in installed.items()),
        *([f"not installed: {', '.join(missing)}"] if missing else []),
    )


def _kernels() -> dict[str, Any]:
    if kernels.REFERENCE:
        return {"reference": True}
    from ..kernels import target  # needs the compiler, unlike the reference kernels

    return {"reference": False, **target.current()._asdict()}


def _precisions() -> dict[str, dict[str, Any]]:
    """Return the unit that multiplies matrices in each precision, and what there is to know."""
    unit = unit_of_cpu()
    facts: dict[str, dict[str, Any]] = {}
    for name in PRECISIONS:
        facts[name] = {"unit": unit_of(name), "products": _PRODUCTS[name]}
        if name != "highest":
            facts[name]["why_not_amx"] = unit.reason or None
            facts[name]["is_slower_than_highest"] = name in _SLOWER[unit.code]
    return facts


def unit_of(precision: Precision) -> str:
    """Return what multiplies matrices in a precision here."""
    if precision != "highest":
        return unit_of_cpu().name
    return "NumPy" if kernels.REFERENCE else str(_kernels()["name"])


# How users count the products of "high": it leaves one of four out.
_PRODUCTS = {
    "highest": "one product of float32 or float64 numbers",
    "high": "three products of bfloat16 numbers",
    "medium": "one product of bfloat16 numbers",
}


# AMD's instruction is twice as fast as products of float32, but "high" has three of them.
_SLOWER = {Unit.EMULATED: ("high", "medium"), Unit.DOT: ("high",), Unit.AMX: ()}


def _precision_lines(facts: dict[str, Any]) -> Iterator[str]:
    for name, each in facts.items():
        yield f"{name:<9}{each['unit']}: {each['products']}"
    if facts["medium"]["why_not_amx"]:
        yield from terminal.wrapped([f"AMX is not used: {facts['medium']['why_not_amx']}"])
    slower = [name for name, each in facts.items() if each.get("is_slower_than_highest")]
    if slower:
        verb = "is" if len(slower) == 1 else "are"
        yield f"{' and '.join(slower)} {verb} slower than highest here"


def _cache() -> dict[str, Any] | None:
    """Return the cache of machine code: its folder, files, bytes, and why it is not used."""
    if kernels.REFERENCE:
        return None
    from ..kernels import jit

    folder = jit.cache_folder()
    if folder is None:
        return None
    files = [file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()]
    return {
        "folder": str(folder), "files": len(files), "bytes": sum(files),
        "problem": jit.cache_problem(),
    }  # fmt: skip


def _cache_lines(cache: Any) -> list[str]:
    if cache is None:
        return ["none: machine code is compiled in every process"]
    if cache["problem"]:
        return [cache["folder"], *terminal.wrapped([f"not used: {cache['problem']}"])]
    size = f"{cache['bytes'] / 1e6:,.1f} MB in {terminal.some(cache['files'], 'file')}"
    return [cache["folder"], size if cache["files"] else "empty; fastnn warmup fills it"]


def _versions() -> dict[str, str | None]:
    names = (
        "numpy", "numba", "llvmlite", "tqdm", "safetensors", "platformdirs", "polars", "matplotlib",
        "scikit-learn", "onnx",
    )  # fmt: skip
    versions: dict[str, str | None] = {
        "fastnn": fastnn.__version__,
        "Python": platform.python_version(),
    }
    for name in names:
        versions[name] = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def units(dtype: DType) -> str:
    """Return the vector unit that the kernels use."""
    if kernels.REFERENCE:
        return "NumPy in place of compiled kernels (FASTNN_REFERENCE)"
    from ..kernels import target

    unit = target.current()
    return f"{unit.name}: vectors of {unit.vector_bytes // dtype.itemsize} {dtype}"


def cpu_name() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):  # Linux, on most processors
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _brand()
    with contextlib.suppress(ImportError):
        from llvmlite.binding import get_host_cpu_name

        return str(get_host_cpu_name())
    return platform.processor() or platform.machine()


def _brand() -> str:
    import subprocess

    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()

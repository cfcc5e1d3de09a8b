"""What the counts depend on, besides the code."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from voicecall import _codec

_COMPILER = re.compile(rb"GCC: \([^)\0]*\) [\d.]+|clang version [\d.]+")

# Over the recorded count by more than this, an entry fails: with the same build tools the counts
# repeat within 1 %; with others they say no more than that a loop is still vectorised.
LIMIT_HERE = 0.10
LIMIT_ELSEWHERE = 0.50


@dataclass(slots=True, frozen=True)
class Environment:
    """Where counts were made.

    Attributes:
        machine: instruction set, `x86_64`.
        vector_loops: whether the processor has what they need.
        compiler: that built the extension, as the extension says.
        python: version and how it was built.
        libc: its name and version.
        libraries: those whose code is counted along.
    """

    machine: str
    vector_loops: bool
    compiler: str
    python: str
    libc: str
    libraries: str


def compiler_of(extension: bytes) -> str:
    """The compilers that left their names in an object file."""
    return ", ".join(sorted({name.decode() for name in _COMPILER.findall(extension)}))


def environment() -> Environment:
    """This one."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    kind = "optimized" if "--enable-optimizations" in options else "plain"
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "soxr")]
    return Environment(
        machine=platform.machine(),
        vector_loops=_codec._set_simd(True),  # noqa: SLF001  (only it says what is in force)
        compiler=compiler_of(Path(_codec.__file__).read_bytes()),
        python=f"{platform.python_version()}, {platform.python_compiler()}, {kind}",
        libc=" ".join(platform.libc_ver()),
        libraries=", ".join(libraries),
    )


def limit(recorded: Environment, here: Environment) -> float | None:
    """How much more than recorded is allowed, as a share; None when nothing can be compared."""
    if (recorded.machine, recorded.vector_loops) != (here.machine, here.vector_loops):
        return None
    return LIMIT_HERE if recorded == here else LIMIT_ELSEWHERE

"""Builds the compiled core; everything else about the package is in pyproject.toml.

Environment:
    VOICECALL_NO_EXTENSIONS: build nothing (the Makefile compiles in its own step).
    VOICECALL_SANITIZE: AddressSanitizer and UndefinedBehaviorSanitizer.
    VOICECALL_DEBUG: no optimisation, bounds checks, an annotated listing.
"""

import os
import sys

from setuptools import Extension, setup

SANITIZE = bool(os.environ.get("VOICECALL_SANITIZE"))
DEBUG = bool(os.environ.get("VOICECALL_DEBUG"))

compile_args = ["-Wall", "-Wno-unreachable-code", "-Wno-unused-function"]
link_args = []
if SANITIZE:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compile_args += ["-O1", "-g", "-fno-omit-frame-pointer", "-DVOICECALL_SANITIZE", *flags]
    link_args += flags
elif DEBUG:
    compile_args += ["-O0", "-g"]
else:
    compile_args += ["-O3"]


def extensions() -> list[Extension]:
    if os.environ.get("VOICECALL_NO_EXTENSIONS") or {"egg_info", "sdist"} & set(sys.argv):
        return []
    from Cython.Build import cythonize  # noqa: PLC0415  (not there when only metadata is asked for)

    codec = Extension(
        "voicecall._codec",
        ["voicecall/_codec.pyx"],
        include_dirs=["voicecall/_native"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    checks = SANITIZE or DEBUG
    return cythonize(
        [codec],
        annotate=DEBUG,
        compiler_directives={
            "language_level": 3,
            "boundscheck": checks,
            "wraparound": False,
            "initializedcheck": checks,
            "cdivision": True,
            "embedsignature": True,
        },
    )


setup(ext_modules=extensions())

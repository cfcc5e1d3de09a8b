"""Run the native tests on a build with Address-, Leak- and UndefinedBehaviorSanitizer.

::

    python -m tests.native.sanitize [pytest arguments]

The instrumented extension is built in a temporary copy of the tree, so the one in place stays as it
is. The exit status is pytest's, or the build's where that fails. Needs gcc with its sanitizers.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("voicecall", "tests", "benchmarks", "setup.py", "pyproject.toml", "README.md", "LICENSE")
RUNTIMES = ("libasan.so", "libubsan.so")
NOT_COPIED = shutil.ignore_patterns("*.so", "_codec.c", "__pycache__", "build")
BUILD_DEADLINE_S = 900
TEST_DEADLINE_S = 1800
CONTROL_DEADLINE_S = 60


def say(text: str) -> None:
    sys.stdout.write(f"sanitize: {text}\n")
    sys.stdout.flush()


def runtime_of(library: str) -> str:
    """The sanitizer's library that belongs to the compiler in use."""
    compiler = os.environ.get("CC", "gcc").split()[0]
    found = subprocess.run(  # noqa: S603 - the compiler that also builds the extension
        [compiler, f"-print-file-name={library}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"sanitize: {compiler} has no {library}")
    return str(Path(found).resolve())


def copy_tree(target: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=NOT_COPIED)
        elif source.exists():
            shutil.copy2(source, target / name)


def environment(tree: Path) -> dict[str, str]:
    """What the sanitizers need to run inside an interpreter that is not instrumented.

    The interpreter leaves memory behind at its end by design, so `tests.native.leaks` looks for
    leaks before that. CPython's own allocator hides overruns and leaks, hence malloc.
    """
    preload = " ".join(runtime_of(library) for library in RUNTIMES)
    return os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "leak_check_at_exit=0:abort_on_error=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


def run(command: list[str], tree: Path, env: dict[str, str], deadline_s: int) -> int:
    say(" ".join(command))
    return subprocess.run(  # noqa: S603 - our own commands, no shell
        command, cwd=tree, env=env, timeout=deadline_s, check=False
    ).returncode


def require_copy(tree: Path, env: dict[str, str]) -> None:
    """Fail unless the copy is what gets imported: an editable install is on the path too."""
    command = [sys.executable, "-c", "import voicecall._codec as c; print(c.__file__)"]
    imported = subprocess.run(  # noqa: S603 - our own command, no shell
        command, cwd=tree, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(imported).is_relative_to(tree):
        raise SystemExit("sanitize: the copy is not what Python imports")
    say(f"testing {Path(imported).name} of the copy")


def require_leaks_found(tree: Path, env: dict[str, str]) -> None:
    """Fail unless a leak made on purpose is found: not every system lets a process be looked at."""
    command = [sys.executable, "-m", "tests.native.leaks"]
    if run(command, tree, env, CONTROL_DEADLINE_S):
        raise SystemExit("sanitize: LeakSanitizer does not find leaks here")


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="voicecall-sanitize-") as folder:
        tree = Path(folder).resolve()
        say(f"copying the tree to {tree}")
        copy_tree(tree)
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        status = run(build, tree, os.environ | {"VOICECALL_SANITIZE": "1"}, BUILD_DEADLINE_S)
        if status:
            return status
        env = environment(tree)
        require_copy(tree, env)
        require_leaks_found(tree, env)
        # One hypothesis database or cache less to write, and no plugin that forks.
        test = [sys.executable, "-m", "pytest", "tests/native", "-q", "-p", "no:cacheprovider"]
        plugins = ["-p", "no:benchmark", "-p", "tests.native.leaks"]
        return run([*test, *plugins, *arguments], tree, env, TEST_DEADLINE_S)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""What the image's first stage does: an archive of the sources, the wheel, a server from it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.deploy.programs import ROOT
from tests.hosting import CALLEE, TOKEN, free_port, run, settings
from tests.test_mirror import tracked_files

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

_BUILD_S = 110
# Whatever of the package is not code: without it something fails only when it is used.
_DATA = re.compile(r"\.(pyx|pxi|pyi|pxd|h|json5|typed)$")

_SDIST = "from setuptools import build_meta; build_meta.build_sdist('dist')"


def python(*arguments: str, cwd: Path, executable: str = sys.executable) -> None:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [executable, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def packaged() -> list[str]:
    return [name for name in tracked_files() if name.startswith("voicecall/")]


def build(folder: Path) -> tuple[Path, Path]:
    """The archive of sources, and the wheel that is built of nothing but it."""
    sources = folder / "sources"
    for name in [*packaged(), "pyproject.toml", "setup.py", "README.md", "LICENSE"]:
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_bytes((ROOT / name).read_bytes())
    python("-c", _SDIST, cwd=sources)
    (archive,) = (sources / "dist").glob("*.tar.gz")
    command = ("-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index")
    python(*command, "-w", str(folder / "wheels"), str(archive), cwd=folder)
    (wheel,) = (folder / "wheels").glob("*.whl")
    return archive, wheel


def install(wheel: Path, folder: Path) -> Path:
    """A fresh environment with the wheel, and with what it depends on from the tests' own."""
    environment = folder / "venv"
    python("-m", "venv", "--without-pip", str(environment), cwd=folder)
    (site,) = environment.glob("lib/python*/site-packages")
    python(
        *("-m", "pip", "--python", str(environment / "bin/python"), "install", "-q"),
        *("--no-deps", "--no-index", str(wheel)),
        cwd=folder,
    )
    # Behind its own packages, and without what the tests' environment says about ours.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    return environment / "bin"


@pytest.mark.timeout(180)
def test_a_server_runs_from_a_wheel_that_was_built_from_the_archive_of_sources(
    tmp_path: Path,
) -> None:
    archive, wheel = build(tmp_path)
    with tarfile.open(archive) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    assert [name for name in packaged() if name not in inside] == []
    with zipfile.ZipFile(wheel) as opened_wheel:
        names = set(opened_wheel.namelist())
    assert [name for name in packaged() if name not in names] == []
    assert {name for name in names if _DATA.search(name)} <= set(packaged())
    assert not any(name.endswith(".c") for name in names)
    bin_directory = install(wheel, tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    run(serve_from(bin_directory, home), within_s=60)


async def serve_from(bin_directory: Path, home: Path) -> None:
    """Start `voicecall serve` as the image does, and place a call."""
    port = free_port()
    config = settings(serve={"port": port}, mock={"phone": "echo"})
    # What the tests' tree has does not count.
    del config["responseModel"]
    path = home / "voicecall.json5"
    path.write_text(json.dumps(config))
    environ = {
        "PATH": str(bin_directory),
        "HOME": str(home),
        "VOICECALL_CONFIG": str(path),
        "XDG_STATE_HOME": str(home),
    }
    process = await asyncio.create_subprocess_exec(
        "voicecall", "serve", cwd=home, env=environ, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        said = b""
        while b"voicecall is ready" not in said:
            line = await process.stderr.readline()
            assert line, said.decode()
            said += line
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30
        ) as http:
            assert (await http.get("/healthz")).json() == {"status": "alive"}
            body = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "voicecall.initiate",
                "params": {"message": "Hello.", "to": CALLEE, "mode": "notify"},
            }
            assert "result" in (await http.post("/rpc", json=body)).json()
        process.terminate()
        assert await process.wait() == 0
        # Where it keeps things is where it was told to.
        assert (home / "voicecall/calls.sqlite3").is_file()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

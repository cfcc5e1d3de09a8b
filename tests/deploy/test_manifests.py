"""The files in deploy/ that nothing here can run: what they say against what the program does."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sys
import tomllib
from typing import Any

import json5
import pytest
import yaml
from starlette.routing import Route

from tests.deploy.programs import DEPLOY, ROOT
from tests.hosting import run, serving, settings
from voicecall.config.load import load
from voicecall.config.schema import Config
from voicecall.control.app import create_app
from voicecall.server import Server
from voicecall.store.redis_address import RedisAddress

pytestmark = pytest.mark.socket

DEFAULTS = Config()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text("utf-8"))
]
SECRETS = {
    "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_AUTH_TOKEN": "nobody's",
    "TWILIO_FROM_NUMBER": "+15550000001",
    "OPENAI_API_KEY": "nobody's",
    "VOICECALL_RPC_TOKEN": "nobody's",
}


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, in order."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    joined = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in found]


def said(name: str) -> list[str]:
    """What the second stage says after each `name`."""
    steps = dockerfile()
    last = max(n for n, (step, _) in enumerate(steps) if step == "FROM")
    return [rest for step, rest in steps[last:] if step == name]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = (
        each for each in MANIFESTS if each["kind"] == kind and each["metadata"]["name"] == name
    )
    return found


def routes() -> set[str]:
    """The paths that a server answers GET at."""
    app = create_app(Server(Config.model_validate(settings()))._control_services())
    return {
        route.path
        for route in app.routes
        if isinstance(route, Route) and "GET" in (route.methods or ())
    }


# --- the image -----------------------------------------------------------------------------------


def test_the_image_has_two_stages_and_no_compiler_in_the_second() -> None:
    stages = [rest for step, rest in dockerfile() if step == "FROM"]
    assert len(stages) == 2
    assert stages[0] == f"{stages[1]} AS build"
    assert not any("gcc" in rest or "apt-get" in rest for rest in said("RUN"))
    (version,) = re.findall(r"python:(3\.\d+)-slim", stages[1])
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


def test_the_image_is_built_from_files_that_there_are_and_that_are_not_ignored() -> None:
    copied = [
        source
        for step, rest in dockerfile()
        if step == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert "pyproject.toml" in copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    # The package names these in its metadata.
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= set(copied)


def test_the_image_installs_extras_that_there_are() -> None:
    (extras,) = (rest.partition("=")[2] for step, rest in dockerfile() if step == "ARG")
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    assert {"redis", "twilio", "telnyx", "plivo"} <= set(extras.split(","))


def test_the_image_runs_the_program_as_somebody_who_is_not_root() -> None:
    (entry,), (command,), (user,) = said("ENTRYPOINT"), said("CMD")[-1:], said("USER")
    assert json.loads(entry) == list(PROJECT["scripts"])
    assert json.loads(command) == ["serve"]
    assert all(int(number) > 0 for number in user.split(":"))
    assert said("STOPSIGNAL") == ["SIGTERM"]
    ports = {str(DEFAULTS.serve.port), str(DEFAULTS.streaming.port)}
    assert set(said("EXPOSE")[0].split()) == ports


def test_the_health_check_of_the_image_asks_what_the_server_answers() -> None:
    (check,) = said("HEALTHCHECK")
    program = json.loads(check.partition("CMD ")[2])
    assert program[:2] == ["python", "-c"]
    ast.parse(program[2])
    (path,) = re.findall(rf"127\.0\.0\.1:{DEFAULTS.serve.port}(/\w+)", program[2])
    assert path in routes()


# --- the configuration ---------------------------------------------------------------------------


def test_the_configuration_of_the_containers_loads_with_the_variables_that_they_have(
    tmp_path: Any,
) -> None:
    container = manifest("StatefulSet", "voicecall")["spec"]["template"]["spec"]["containers"][0]
    of_pod = {each["name"]: each["value"] for each in container["env"]}
    of_service = {
        name: "calls.example.com" if name == "VOICECALL_HOST" else value
        for name, value in COMPOSE["services"]["voicecall"]["environment"].items()
    }
    assert of_service.keys() == of_pod.keys() | SECRETS.keys()
    for given in (of_pod, of_service):
        environ = {**given, **SECRETS}
        loaded = load(DEPLOY / "voicecall.json5", environ=environ, home=tmp_path, cwd=tmp_path)
        assert loaded.warnings == ()
        config = loaded.config
        assert config.public_url == "https://calls.example.com"
        assert (config.serve.bind, config.streaming.bind) == ("0.0.0.0", "0.0.0.0")  # noqa: S104
        assert config.store is not None
        assert RedisAddress.parse(config.store, server="voicecall").host == "valkey"
        Server(config)


def test_every_variable_of_the_configuration_comes_from_somewhere() -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "voicecall.json5").read_text("utf-8")))
    assert wanted <= COMPOSE["services"]["voicecall"]["environment"].keys()
    assert json5.loads((DEPLOY / "voicecall.json5").read_text("utf-8"))["provider"] == "twilio"


# --- compose -------------------------------------------------------------------------------------


def test_compose_builds_our_image_and_mounts_files_that_there_are() -> None:
    service = COMPOSE["services"]["voicecall"]
    context = (DEPLOY / service["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / service["build"]["dockerfile"]).is_file()
    volumes = [each for part in COMPOSE["services"].values() for each in part.get("volumes", ())]
    for source in (each.partition(":")[0] for each in volumes):
        assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file(), source


def test_compose_joins_its_services_by_the_ports_that_they_have() -> None:
    services = COMPOSE["services"]
    assert services["voicecall"]["expose"] == ["3334", "3335"]
    assert "ports" not in services["voicecall"] | services["valkey"]
    environment = services["caddy"]["environment"]
    assert environment["VOICECALL_CONTROL"] == f"voicecall:{DEFAULTS.serve.port}"
    assert environment["VOICECALL_MEDIA"] == f"voicecall:{DEFAULTS.streaming.port}"
    # A name of its own, or each new container would wait for the lease of the last one in vain.
    assert services["voicecall"]["hostname"]
    assert int(services["voicecall"]["stop_grace_period"].removesuffix("s")) > 10
    used = {name for part in services.values() for name in part.get("depends_on", ())}
    assert used <= services.keys()


def test_the_database_keeps_what_it_acknowledges() -> None:
    pod = manifest("StatefulSet", "valkey")["spec"]["template"]["spec"]
    for words in (
        COMPOSE["services"]["valkey"]["command"].split()[1:],
        pod["containers"][0]["args"],
    ):
        options = dict(zip(words[::2], words[1::2], strict=True))
        assert options["--appendonly"] == "yes"
        assert options["--appendfsync"] == "always"
        assert options["--maxmemory-policy"] == "noeviction"


# --- Kubernetes ----------------------------------------------------------------------------------


def test_every_manifest_has_what_its_kind_needs() -> None:
    versions = {
        "StatefulSet": "apps/v1",
        "Service": "v1",
        "PodDisruptionBudget": "policy/v1",
        "Ingress": "networking.k8s.io/v1",
    }
    for each in MANIFESTS:
        assert each["apiVersion"] == versions[each["kind"]]
        assert re.fullmatch(r"[a-z0-9-]{1,63}", each["metadata"]["name"])
        assert each.keys() <= {"apiVersion", "kind", "metadata", "spec"}


@pytest.mark.parametrize("name", ["voicecall", "valkey"])
def test_selectors_find_the_pods_and_services_their_ports(name: str) -> None:
    spec = manifest("StatefulSet", name)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    service = manifest("Service", name)["spec"]
    assert service["selector"] == labels
    assert spec["serviceName"] == name
    ports = {
        port["name"]: port["containerPort"]
        for container in spec["template"]["spec"]["containers"]
        for port in container["ports"]
    }
    for port in service["ports"]:
        assert ports[port["targetPort"]] == port["port"]


@pytest.mark.parametrize("name", ["voicecall", "valkey"])
def test_pods_may_do_nothing_that_they_need_not(name: str) -> None:
    pod = manifest("StatefulSet", name)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    mounts = {each["name"] for each in pod.get("volumes", ())}
    for container in pod["containers"]:
        may = container["securityContext"]
        assert may["allowPrivilegeEscalation"] is False
        assert may["readOnlyRootFilesystem"] is True
        assert may["capabilities"] == {"drop": ["ALL"]}
        claims = {
            each["metadata"]["name"]
            for each in manifest("StatefulSet", name)["spec"].get("volumeClaimTemplates", ())
        }
        assert {each["name"] for each in container["volumeMounts"]} <= mounts | claims


def test_probes_ask_at_paths_and_ports_that_there_are() -> None:
    pod = manifest("StatefulSet", "voicecall")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"control": DEFAULTS.serve.port, "media": DEFAULTS.streaming.port}
    known = routes()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "control"
        assert asked["path"] in known
    user = pod["securityContext"]
    assert said("USER") == [f"{user['runAsUser']}:{user['runAsGroup']}"]


def test_a_pod_has_the_time_to_become_quiet_and_to_hang_up() -> None:
    pod = manifest("StatefulSet", "voicecall")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program[:2] == ["python", "-c"]
    (seconds,) = re.findall(r"range\((\d+)\)", program[2])
    longest = DEFAULTS.max_duration_seconds + DEFAULTS.ring_timeout_ms // 1000
    assert int(seconds) >= longest
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + 10


def test_the_wait_for_a_quiet_moment_ends_when_there_is_one() -> None:
    (container,) = manifest("StatefulSet", "voicecall")["spec"]["template"]["spec"]["containers"]
    text = container["lifecycle"]["preStop"]["exec"]["command"][2]

    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("Hello.")
            await served.connected(call_id)
            here = text.replace("http://127.0.0.1:3334", served.server.control_url)
            assert here != text
            waiting = await asyncio.create_subprocess_exec(sys.executable, "-c", here)
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1.5):
                        await waiting.wait()
                await served.ask("end", callId=call_id)
                async with asyncio.timeout(20):
                    assert await waiting.wait() == 0
            finally:
                if waiting.returncode is None:
                    waiting.kill()
                    await waiting.wait()

    run(case(), within_s=60)


def test_the_ingress_parts_the_planes_as_the_server_does() -> None:
    rules = manifest("Ingress", "voicecall")["spec"]["rules"]
    (rule,) = rules
    backends = {
        path["path"]: path["backend"]["service"]["port"]["name"] for path in rule["http"]["paths"]
    }
    assert backends == {DEFAULTS.streaming.stream_path: "media", "/": "control"}
    for path in rule["http"]["paths"]:
        service = manifest("Service", path["backend"]["service"]["name"])["spec"]
        assert path["backend"]["service"]["port"]["name"] in {
            port["name"] for port in service["ports"]
        }
    host = rule["host"]
    assert manifest("Ingress", "voicecall")["spec"]["tls"][0]["hosts"] == [host]


def test_the_disruption_budget_is_that_of_the_server() -> None:
    budget = manifest("PodDisruptionBudget", "voicecall")["spec"]
    spec = manifest("StatefulSet", "voicecall")["spec"]
    assert budget["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert budget["maxUnavailable"] == 0


# --- the page ------------------------------------------------------------------------------------


def test_the_page_names_every_file_and_no_other() -> None:
    text = (DEPLOY / "README.md").read_text("utf-8")
    for name in ("systemd/voicecall.service", "caddy/Caddyfile", "nginx/voicecall.conf"):
        assert f"`{name}`" in text
        assert (DEPLOY / name).is_file()
    assert "`compose.yaml`" in text
    assert "`kubernetes/`" in text


def test_the_figures_of_the_page_are_those_that_were_measured() -> None:
    results = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    figures = {
        (heading, row.split("|")[1].strip()): [
            cell.split("(")[0].strip() for cell in row.split("|")[2:-1]
        ]
        for heading, section in re.findall(
            r"^## (\w+)\n(.*?)(?=^## |\Z)", results, re.MULTILINE | re.DOTALL
        )
        for row in section.splitlines()
        if row.startswith("| ")
    }
    text = (DEPLOY / "README.md").read_text("utf-8")
    table = re.findall(r"^\| [^|]+ \| (\d+) \| (\d\.\d+) \| (\d+) KiB \|$", text, re.MULTILINE)
    measured = []
    for heading, column in (("Tone", 0), ("Tone", 2), ("Speech", 1)):
        calls, cores, memory = (
            float(figures[heading, name][column])
            for name in ("streams", "CPU, cores", "memory, KiB per stream")
        )
        measured.append((f"{calls:.0f}", f"{cores:.2f}", f"{memory:.0f}"))
    assert table[0] == measured[0]
    assert table[2] == measured[2]
    # The memory of a call does not depend on how many there are.
    assert table[1][:2] == measured[1][:2]

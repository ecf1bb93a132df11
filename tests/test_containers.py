"""The image and its compositions, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from cli.main import _parser
from service.api import operation
from service.settings import Settings
from tests.conftest import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile"
COMPOSE = REPOSITORY / "docker-compose.yml"
SERVING = ("demo", "home", "replica-1", "replica-2")

SERVICE_KEYS = {
    *("build", "image", "init", "read_only", "tmpfs", "cap_drop", "security_opt", "mem_limit"),
    *("pids_limit", "command", "restart", "stop_grace_period", "healthcheck", "depends_on"),
    *("environment", "volumes", "ports", "profiles", "user"),
}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (INSTRUCTION, arguments), comments dropped and lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word, " ".join(arguments.split())) for word, arguments in pairs]


def all_of(word: str) -> list[str]:
    return [arguments for name, arguments in instructions() if name == word]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    last = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def exec_form(word: str) -> list[str]:
    arguments = dict(final_stage())[word]
    parsed: list[str] = json.loads(arguments[arguments.index("[") :])
    return parsed


def copied() -> list[tuple[str, str]]:
    """(source, destination) of every COPY from the build context."""
    pairs = []
    for arguments in all_of("COPY"):
        if not arguments.startswith("--from="):
            *sources, destination = arguments.split()
            pairs += [(source, destination) for source in sources]
    return pairs


def compose(environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The composition with its variables filled in, from their defaults where not given."""

    def value(found: re.Match[str]) -> str:
        return (environment or {}).get(found["name"], found["default"])

    text = COMPOSE.read_text()
    filled = re.sub(r"\$\{(?P<name>\w+):-(?P<default>[^}]*)\}", value, text)
    assert "${" not in filled, "every variable has a default"
    loaded: dict[str, Any] = yaml.safe_load(filled)
    return loaded


def ours() -> dict[str, Any]:
    """The services of our own image."""
    return {name: each for name, each in compose()["services"].items() if "build" in each}


class TestDockerfile:
    def test_hadolint_finds_nothing(self) -> None:
        hadolint = Path(sys.executable).parent / "hadolint"
        command = [str(hadolint), "--no-color", str(DOCKERFILE)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (found.returncode, found.stdout) == (0, "")

    def test_the_command_is_one_that_the_command_line_knows(self) -> None:
        assert exec_form("ENTRYPOINT") == ["circumplex"]
        options = _parser().parse_args(exec_form("CMD"))
        assert options.run == "catalogue:serve"
        assert options.host == "0.0.0.0"
        assert str(options.port) == dict(final_stage())["EXPOSE"]

    def test_it_runs_as_an_ordinary_user_on_what_the_first_stage_installed(self) -> None:
        words = [word for word, _ in final_stage()]
        assert dict(final_stage())["USER"] == "1000:1000"
        assert words.index("USER") > words.index("RUN")
        assert len(all_of("FROM")) == 2
        assert not any("pip" in arguments for _, arguments in final_stage())

    def test_all_that_is_written_lies_in_the_volume(self) -> None:
        environment = dict(re.findall(r"(\w+)=(\S+)", dict(final_stage())["ENV"]))
        volume = dict(final_stage())["VOLUME"]
        assert environment["CIRCUMPLEX_HOME"] == volume
        assert Path(environment["CIRCUMPLEX_CACHE"]).is_relative_to(volume)

    def test_every_package_and_nothing_else_is_copied(self) -> None:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
        include = project["tool"]["setuptools"]["packages"]["find"]["include"]
        assert all((REPOSITORY / source).exists() for source, _ in copied())
        folders = {source for source, _ in copied() if (REPOSITORY / source).is_dir()}
        assert folders == {pattern.removesuffix("*") for pattern in include}
        assert all(destination in (source, "./") for source, destination in copied())

    def test_the_build_context_holds_what_is_copied_and_no_more(self) -> None:
        lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        assert rules[0] == "*"
        admitted = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
        assert admitted == {source for source, _ in copied()}

    def test_the_extras_exist(self) -> None:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        wanted = [extras for run in all_of("RUN") for extras in re.findall(r"\.\[([\w,]+)\]", run)]
        assert wanted == ["cpu,postgres"]
        assert set(wanted[0].split(",")) <= set(project["optional-dependencies"])

    @pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
    def test_the_health_check_asks_whether_searches_can_be_answered(
        self, status: int, healthy: bool
    ) -> None:
        asked = []

        class Stub(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        python, flag, code = exec_form("HEALTHCHECK")
        port = dict(final_stage())["EXPOSE"]
        assert (python, flag) == ("python", "-c")
        assert f"127.0.0.1:{port}/" in code
        with http.server.HTTPServer(("127.0.0.1", 0), Stub) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            here = code.replace(f":{port}/", f":{server.server_port}/")
            checked = subprocess.run(
                [sys.executable, "-c", here], capture_output=True, check=False, timeout=30
            )
            server.shutdown()
        assert (checked.returncode == 0) is healthy
        assert asked == ["/readyz"]
        assert "/readyz" in {getattr(route, "path", "") for route in operation.router.routes}


class TestCompose:
    def test_docker_compose_accepts_it(
        self, read_composition: Callable[[Path], tuple[int, str, str]]
    ) -> None:
        assert read_composition(COMPOSE) == (0, "", "")

    def test_every_key_is_known_and_every_name_refers_to_something(self) -> None:
        whole = compose()
        services = whole["services"]
        assert {key for key in whole if not key.startswith("x-")} == {"services", "volumes"}
        for service in services.values():
            assert set(service) <= SERVICE_KEYS
            assert set(service.get("depends_on", {})) <= set(services)
            for volume in service["volumes"]:
                source, _ = volume.split(":")
                assert source in whole["volumes"] or source.startswith("./")

    def test_what_is_built_is_ours(self) -> None:
        assert all((REPOSITORY / each["build"] / "Dockerfile").exists() for each in ours().values())
        assert set(compose()["services"]) - set(ours()) == {"postgres"}

    def test_commands_are_ones_that_the_command_line_knows(self) -> None:
        runs = {name: _parser().parse_args(each["command"]) for name, each in ours().items()}
        assert runs["prepare"].run == "demo:demo"
        assert runs["prepare"].no_serve
        assert {runs[name].run for name in SERVING} == {"catalogue:serve"}
        assert all(runs[name].host == "0.0.0.0" for name in SERVING)

    def test_the_demo_serves_what_was_prepared(self) -> None:
        services = compose()["services"]
        condition = services["demo"]["depends_on"]["prepare"]["condition"]
        assert condition == "service_completed_successfully"
        assert services["prepare"]["restart"] == "no"
        assert services["prepare"]["healthcheck"] == {"disable": True}
        assert services["prepare"]["volumes"] == services["demo"]["volumes"]

    def test_only_this_machine_is_answered_on_different_ports(self) -> None:
        services = compose()["services"]
        ports = [port for service in services.values() for port in service.get("ports", [])]
        port = dict(final_stage())["EXPOSE"]
        assert ports == [f"127.0.0.1:{8000 + place}:{port}" for place in range(len(SERVING))]

    def test_each_container_is_confined(self) -> None:
        volume = dict(final_stage())["VOLUME"]
        for service in compose()["services"].values():
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert "no-new-privileges:true" in service["security_opt"]
            assert service["pids_limit"] == 512
            assert service.get("user") != "root"
        for service in ours().values():
            assert service["mem_limit"] == "4g"
            assert service["tmpfs"][0].startswith("/tmp:size=1g")
            assert [mount.split(":")[1] for mount in service["volumes"]] == [volume]

    def test_what_serves_comes_back_and_has_time_to_stop(self) -> None:
        for name in SERVING:
            service = compose()["services"][name]
            assert service["restart"] == "unless-stopped"
            assert service["stop_grace_period"] == "15s"
            assert "healthcheck" not in service  # the image's

    def test_the_home_folder_is_the_callers(self) -> None:
        chosen = compose({"CIRCUMPLEX_HOME_FOLDER": "./elsewhere", "CIRCUMPLEX_USER": "5:6"})
        home = chosen["services"]["home"]
        assert home["profiles"] == ["home"]
        assert home["volumes"][0].startswith("./elsewhere:")
        assert home["user"] == "5:6"
        assert compose()["services"]["home"]["volumes"][0].startswith("./home:")

    def test_the_replicas_share_a_folder_and_a_database(self) -> None:
        services = compose({"CIRCUMPLEX_POSTGRES_PASSWORD": "secret"})["services"]
        first, second, postgres = (services[n] for n in ("replica-1", "replica-2", "postgres"))
        assert {**first, "ports": second["ports"]} == second
        assert first["volumes"] == services["home"]["volumes"]
        assert first["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        url = make_url(first["environment"]["CIRCUMPLEX_DATABASE_URL"])
        assert url.drivername == "postgresql+psycopg"
        assert url.host == "postgres"
        assert postgres["environment"] == {
            "POSTGRES_USER": url.username,
            "POSTGRES_PASSWORD": url.password,
        }
        assert url.database == url.username  # what the image makes where no other name is given
        assert "ports" not in postgres
        assert {each["profiles"][0] for each in (first, second, postgres)} == {"cluster"}

    def test_the_settings_exist(self) -> None:
        known = {f"CIRCUMPLEX_{name.upper()}" for name in Settings.model_fields}
        for service in ours().values():
            assert set(service.get("environment", {})) <= known


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built, offline, from what the Dockerfile copies."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name, _ in copied():
        original = REPOSITORY / name
        if original.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(original, source / name, ignore=ignored)
        else:
            shutil.copy(original, source)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--disable-pip-version-check", "--no-index", "--wheel-dir", str(wheels)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = wheels.glob("circumplex-*.whl")
    return wheel


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


class TestWheel:
    @pytest.mark.parametrize(
        "folder", ["models", "training", "service", "migrations", "cli", "bench"]
    )
    def test_it_holds_every_file_of_every_package(self, names: set[str], folder: str) -> None:
        files = {
            path.relative_to(REPOSITORY).as_posix()
            for path in (REPOSITORY / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert files - names == set()

    def test_it_holds_what_the_service_reads_beside_its_code(self, names: set[str]) -> None:
        assert {"service/web/index.html", "migrations/alembic.ini"} <= names
        assert any(name.startswith("migrations/versions/0001") for name in names)
        assert any(name.endswith("licenses/LICENSE") for name in names)

    def test_it_holds_no_tests(self, names: set[str]) -> None:
        tops = {name.split("/")[0] for name in names}
        packages = {top for top in tops if not top.endswith(".dist-info")}
        assert packages == {"models", "training", "service", "migrations", "cli", "bench"}

    def test_its_migrations_run_where_there_is_no_checkout(
        self, wheel: Path, tmp_path: Path
    ) -> None:
        zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
        code = "import service.database as it; print(it.__file__); it.migrate('sqlite:///it.db')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(done.stdout.strip()).is_relative_to(tmp_path)
        assert (tmp_path / "it.db").exists()

"""The rehearsal of a Milvus cluster, as far as it can be checked without a Docker engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

COMPOSE = REPOSITORY / "docs" / "milvus" / "docker-compose.yml"
KEYS = {
    *("image", "restart", "security_opt", "environment", "depends_on", "command", "healthcheck"),
    *("volumes", "ports"),
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    text = COMPOSE.read_text()
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    assert "${" not in filled, "every variable has a default"
    whole = yaml.safe_load(filled)
    used = {
        volume.split(":")[0] for s in whole["services"].values() for volume in s.get("volumes", [])
    }
    assert used == set(whole["volumes"])
    return dict(whole["services"])


def test_docker_compose_accepts_it(
    read_composition: Callable[[Path], tuple[int, str, str]],
) -> None:
    assert read_composition(COMPOSE) == (0, "", "")


def test_every_key_is_known_and_every_name_refers_to_something(services: dict[str, Any]) -> None:
    for service in services.values():
        assert set(service) <= KEYS
        waits_for = service.get("depends_on", {})
        assert set(waits_for) <= set(services)
        assert all("healthcheck" in services[name] for name in waits_for)
        assert re.search(r":[^:]*\d[^:]*$", service["image"]), "a version, not whatever is latest"


def test_the_parts_of_a_cluster_run_apart_on_one_version(services: dict[str, Any]) -> None:
    milvus = {name: s for name, s in services.items() if s["command"][0] == "milvus"}
    assert {name: s["command"][2] for name, s in milvus.items()} == {
        name: name for name in ("mixcoord", "proxy", "querynode", "datanode", "streamingnode")
    }
    assert len({s["image"] for s in milvus.values()}) == 1
    for service in milvus.values():
        named = service["environment"]
        assert named["ETCD_ENDPOINTS"] == "etcd:2379"
        assert named["MINIO_ADDRESS"] == "storage:9000"
        assert (
            named["MINIO_SECRET_ACCESS_KEY"]
            == (services["storage"]["environment"]["MINIO_ROOT_PASSWORD"])
        )


def test_only_the_proxy_is_reached_and_only_from_this_machine(services: dict[str, Any]) -> None:
    assert {name for name, s in services.items() if "ports" in s} == {"proxy"}
    assert services["proxy"]["ports"] == ["127.0.0.1:19530:19530"]

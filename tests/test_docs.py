"""The README says what is there: every setting, error code, command and picture."""

from __future__ import annotations

import re
from typing import get_args

import pytest

import service.errors
from models.audio import AudioFault
from service.errors import CODE_BY_STATUS, ServiceError
from service.settings import Settings
from tests.conftest import REPOSITORY
from training.recipes import RECIPES

README = (REPOSITORY / "README.md").read_text()


def _codes() -> set[str]:
    """Collect every code that an error of the service can carry."""
    classes = [ServiceError]
    for kind in classes:
        classes += kind.__subclasses__()
    source = "".join(
        path.read_text() for path in (REPOSITORY / "service").rglob("*.py") if path.is_file()
    )
    named = set(re.findall(r'code="([a-z_]+)"', source))
    carried = {kind.code for kind in classes if isinstance(getattr(kind, "code", None), str)}
    return named | carried | set(CODE_BY_STATUS.values()) | set(get_args(AudioFault))


def test_every_error_code_is_documented() -> None:
    assert service.errors.__doc__
    missing = {code for code in _codes() if f"`{code}`" not in README}
    assert not missing


def test_no_documented_code_is_made_up() -> None:
    table = README.split("| code | status | meaning |")[1].split("\n## ")[0]
    documented = {
        code
        for line in table.splitlines()[2:]
        if line.startswith("|")
        for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    assert len(documented) > 15
    assert documented <= _codes()


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_every_setting_is_documented(setting: str) -> None:
    assert f"`CIRCUMPLEX_{setting.upper()}`" in README


def test_no_documented_setting_is_made_up() -> None:
    documented = set(re.findall(r"`CIRCUMPLEX_([A-Z_]+)`", README))
    read_directly = {"CACHE", "TRACEBACK"}
    assert documented - read_directly == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    "page", ["README.md", "docs/models/circumplex.md", "docs/models/cmer-cl.md"]
)
def test_every_link_and_picture_exists(page: str) -> None:
    path = REPOSITORY / page
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert len(links) > 4
    assert not [link for link in links if not (path.parent / link).exists()]


def test_every_recipe_has_a_card() -> None:
    cards = {path.stem for path in (REPOSITORY / "docs" / "models").glob("*.md")}
    assert cards == set(RECIPES)


def test_every_decision_is_numbered_once() -> None:
    numbers = [path.name[:4] for path in (REPOSITORY / "docs" / "decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers)) > 3

"""The official weights: asked for once, never trusted, never unpickled."""

from __future__ import annotations

import hashlib
import io
import os
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models import vggish
from models.vggish import VGGISH_FILE, VGGISH_URL, WeightsError, load_network, official_weights


class Downloads:
    """In place of ``urlopen``: answers with bytes, or fails, and counts."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.urls: list[str] = []

    def __call__(self, url: str, timeout: float) -> Reply:
        assert 0 < timeout < 120
        self.urls.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return Reply(self.answer)


class Reply(io.BytesIO):
    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.headers = Message()
        self.headers["Content-Length"] = str(len(content))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CIRCUMPLEX_CACHE", str(folder))
    return folder


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> Downloads:
    """Nothing is ever fetched in earnest."""
    answers = Downloads(urllib.error.URLError("no route to host"))
    monkeypatch.setattr(urllib.request, "urlopen", answers)
    return answers


def official(path: Path, content: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save something with torch, and let its checksum count as the official one."""
    torch.save(content, path)
    prefix = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(vggish, "VGGISH_SHA256_PREFIX", prefix)
    return path


SMALL = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


class TestGivenFile:
    def test_is_kept_as_safetensors(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, downloads: Downloads
    ) -> None:
        source = official(tmp_path / VGGISH_FILE, SMALL, monkeypatch)
        kept = official_weights(source)
        assert kept.parent == cache
        assert kept.suffix == ".safetensors"
        found = load_file(kept)
        assert set(found) == set(SMALL)
        assert all(torch.equal(found[name], SMALL[name]) for name in SMALL)
        assert [path.name for path in cache.iterdir()] == [kept.name]

        source.unlink()
        before = kept.stat().st_mtime_ns
        assert official_weights() == kept
        assert kept.stat().st_mtime_ns == before
        assert downloads.urls == []

    def test_of_another_checksum(self, tmp_path: Path, cache: Path) -> None:
        source = tmp_path / VGGISH_FILE
        torch.save(SMALL, source)
        with pytest.raises(WeightsError, match="does not begin with 10086976") as refused:
            official_weights(source)
        assert str(source) in str(refused.value)
        assert list(cache.iterdir()) == []

    def test_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="does not exist: give the official vggish-1008"):
            official_weights(tmp_path / "nowhere.pth")

    def test_that_is_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="does not exist"):
            official_weights(tmp_path)

    def test_that_would_run_code(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touched = tmp_path / "touched"

        class Malicious:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(touched),)

        source = official(tmp_path / VGGISH_FILE, {"weight": Malicious()}, monkeypatch)
        with pytest.raises(WeightsError, match="other than tensors"):
            official_weights(source)
        assert not touched.exists()
        assert list(cache.iterdir()) == []
        torch.load(source, weights_only=False)
        assert touched.exists(), "the file is no threat, and this test shows nothing"

    @pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.ones(3)])
    def test_that_holds_no_state(
        self, content: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = official(tmp_path / VGGISH_FILE, content, monkeypatch)
        with pytest.raises(WeightsError, match="other than tensors"):
            official_weights(source)
        assert not (cache / "vggish-10086976.safetensors").exists()


class TestDownload:
    def test_is_kept_and_shows_progress(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        downloads: Downloads,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        source = official(tmp_path / "elsewhere.pth", SMALL, monkeypatch)
        downloads.answer = source.read_bytes()
        kept = official_weights()
        assert torch.equal(load_file(kept)["layer.weight"], SMALL["layer.weight"])
        assert downloads.urls == [VGGISH_URL]
        assert VGGISH_URL.startswith("https://github.com/harritaylor/torchvggish/releases/")
        size = source.stat().st_size
        assert f"fetching {VGGISH_FILE}: {size}/{size} B" in capsys.readouterr().err

        assert official_weights() == kept
        assert len(downloads.urls) == 1

    @pytest.mark.parametrize(
        "failure",
        [
            urllib.error.URLError("no route to host"),
            urllib.error.HTTPError(VGGISH_URL, 404, "Not Found", Message(), None),
            TimeoutError("timed out"),
            ConnectionResetError("reset"),
        ],
    )
    def test_that_fails_says_what_to_do(
        self, failure: Exception, downloads: Downloads, cache: Path
    ) -> None:
        downloads.answer = failure
        with pytest.raises(WeightsError, match="--weights PATH") as refused:
            official_weights()
        assert VGGISH_URL in str(refused.value)
        assert list(cache.iterdir()) == []

    def test_of_something_else_is_not_kept(self, downloads: Downloads, cache: Path) -> None:
        downloads.answer = b"<html>captive portal</html>"
        with pytest.raises(WeightsError, match="it is not the official"):
            official_weights()
        assert not (cache / "vggish-10086976.safetensors").exists()
        with pytest.raises(WeightsError):
            official_weights()
        assert len(downloads.urls) == 2


class TestNetwork:
    @pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
    def test_a_damaged_file(self, content: bytes | None, tmp_path: Path) -> None:
        path = tmp_path / "kept.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match="does not hold VGGish's tensors"):
            load_network(path)

    def test_other_tensors(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: Downloads
    ) -> None:
        kept = official_weights(official(tmp_path / VGGISH_FILE, SMALL, monkeypatch))
        with pytest.raises(WeightsError, match="does not hold VGGish's tensors"):
            load_network(kept)

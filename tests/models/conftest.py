"""How property tests run here, and weights of VGGish's shapes.

Property tests see the same examples every time, however busy the machine is.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from safetensors.torch import save_file

from models.vggish_frontend import Precision, VGGishFrontend

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # resampy's use of pkg_resources
    from torchvggish.torchvggish import VGG, make_layers

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def vggish_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write random weights of VGGish's shapes, 288 MB, and remove them afterwards.

    He's initialisation, so that what the last layer gives still depends on what the first saw.
    """
    folder = tmp_path_factory.mktemp("vggish")
    generator = torch.Generator().manual_seed(5)
    with torch.device("meta"):
        shapes = {
            name: tensor.shape for name, tensor in VGG(make_layers(), False).named_parameters()
        }
    weights = {}
    for name, shape in shapes.items():
        inputs = math.prod(shape[1:])
        bound = math.sqrt(6 / inputs) if len(shape) > 1 else 0.1
        weights[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    save_file(weights, folder / "weights.safetensors")
    yield folder / "weights.safetensors"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def vggish_of(
    vggish_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Precision], VGGishFrontend]]:
    """Build VGGish in a precision, once; its graphs are removed afterwards."""
    folder = tmp_path_factory.mktemp("vggish-cache")

    @cache
    def build(precision: Precision) -> VGGishFrontend:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CIRCUMPLEX_CACHE", str(folder))
            return VGGishFrontend(vggish_weights, precision)

    yield build
    shutil.rmtree(folder)

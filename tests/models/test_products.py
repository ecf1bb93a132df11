"""Products of stacks of matrices against numpy's, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import tile_assembly
from models.products import Factor, Precision, multiply_whole_plainly, room

Matrices = NDArray[np.float32]

if not tile_assembly.AVAILABLE:
    pytest.skip(
        "this processor has no AVX2: single precision is left to ONNX Runtime",
        allow_module_level=True,
    )


def product(
    rows: Matrices, factors: Matrices, precision: Precision, *, plainly: bool = False
) -> Matrices:
    """Multiply (G, R, D) with (G, D, N)."""
    groups, count, depth = rows.shape
    factor = Factor.of(factors, precision)
    laid_out = room(groups, count * depth, np.float32)
    laid_out[:, : count * depth] = rows.reshape(groups, -1)
    sums = room(groups, count * factor.columns, np.float32)
    multiplied, scales = factor.rounded(
        laid_out, count, np.zeros(laid_out.shape, np.int16), np.zeros(groups * count, np.float32)
    )
    every = (0, factor.panel_count)
    if plainly:
        multiply_whole_plainly(
            multiplied, count, scales, factor.panels, factor.scales, sums, *every
        )
    else:
        factor.multiply(multiplied, count, scales, sums, every)
    return sums[:, : count * factor.columns].reshape(groups, count, -1)


def made_up(
    groups: int, count: int, depth: int, columns: int, seed: int
) -> tuple[Matrices, Matrices]:
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(2, (groups, count, depth)) * rng.lognormal(0, 5, (groups, count, 1))
    factors = rng.standard_t(2, (groups, depth, columns)) * rng.lognormal(
        0, 5, (groups, 1, columns)
    )
    return rows.astype(np.float32), factors.astype(np.float32)


def error(found: Matrices, rows: Matrices, factors: Matrices) -> float:
    """By how much products are off at most, as a share of their factors' norms."""
    exact_rows, exact_factors = rows.astype(np.float64), factors.astype(np.float64)
    norms = (
        np.linalg.norm(exact_rows, axis=2)[:, :, None]
        * np.linalg.norm(exact_factors, axis=1)[:, None]
    )
    return float((np.abs(found - exact_rows @ exact_factors) / np.maximum(norms, 1e-300)).max())


SHAPES = {
    "groups": st.integers(1, 3),
    "count": st.integers(1, 10).map(lambda half: 2 * half),
    "depth": st.integers(1, 40).map(lambda quarter: 4 * quarter),
    "columns": st.integers(1, 4).map(lambda panel: 16 * panel),
    "seed": st.integers(0, 1_000),
}


@given(**SHAPES)
@example(groups=1, count=2, depth=512, columns=16, seed=0)
def test_singles_equal_the_definition(
    groups: int, count: int, depth: int, columns: int, seed: int
) -> None:
    rows, factors = made_up(groups, count, depth, columns, seed)
    assert error(product(rows, factors, "float32"), rows, factors) < 1e-6


@given(**SHAPES)
@example(groups=2, count=6, depth=512, columns=32, seed=1)
def test_whole_numbers_are_close_to_it_and_the_same_bits_on_any_processor(
    groups: int, count: int, depth: int, columns: int, seed: int
) -> None:
    rows, factors = made_up(groups, count, depth, columns, seed)
    found = product(rows, factors, "int16")
    # Each factor is off by half a unit a number: 2^-15 and 2^-16 of its norm, times sqrt(D) / 2;
    # a column of one large number by no more than that number's 2^-15.
    assert error(found, rows, factors) < 2 * np.sqrt(depth) * 2.0**-15
    assert product(rows, factors, "int16", plainly=True).tobytes() == found.tobytes()


@pytest.mark.parametrize("depth", [4, 64, 512])
@pytest.mark.parametrize("spread", ["even", "one"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_do_not_overflow(depth: int, spread: str, sign: int) -> None:
    """Rows and columns that point the same way reach the bound of Cauchy and Schwarz."""
    row = np.ones(depth) if spread == "even" else np.eye(depth)[depth // 2]
    rows = np.tile(row, (1, 6, 1)).astype(np.float32)
    factors = np.repeat(sign * rows[:, :1].transpose(0, 2, 1), 16, axis=2)
    found = product(rows, factors, "int16")
    np.testing.assert_allclose(found, rows @ factors, rtol=1e-3)


def test_zeros_and_tiny_numbers() -> None:
    rows = np.zeros((1, 4, 8), np.float32)
    rows[0, 1] = 1e-30
    rows[0, 2] = 1
    factors = np.zeros((1, 8, 16), np.float32)
    factors[0, :, 1] = 1e-30
    factors[0, :, 2] = 1
    for precision in ("float32", "int16"):
        found = product(rows, factors, precision)
        assert np.isfinite(found).all()
        assert found[0, 2, 2] == pytest.approx(8, rel=1e-3)
        assert found[0, 2, 1] == pytest.approx(8e-30, rel=1e-3)
        assert (found[0, [0, 3]] == 0).all()


@pytest.mark.parametrize("precision", ["float32", "int16"])
def test_a_row_gets_the_same_bits_in_any_place_and_company(precision: Precision) -> None:
    rows, factors = made_up(2, 16, 32, 48, seed=0)
    together = product(rows, factors, precision)
    for first in (0, 2, 6, 10, 14):
        part = rows[:, first : first + 2]
        found = product(np.ascontiguousarray(part), factors, precision)
        assert found.tobytes() == together[:, first : first + 2].tobytes()
    assert product(rows[:, ::-1], factors, precision).tobytes() == together[:, ::-1].tobytes()


@pytest.mark.parametrize("precision", ["float32", "int16"])
def test_panels_are_written_apart(precision: Precision) -> None:
    rows, factors = made_up(1, 4, 16, 64, seed=3)
    factor = Factor.of(factors, precision)
    multiplied, scales = factor.rounded(
        rows.reshape(1, -1), 4, np.zeros((1, 64), np.int16), np.zeros(4, np.float32)
    )
    sums = np.full((1, 4 * 64), np.nan, np.float32)
    factor.multiply(multiplied, 4, scales, sums, (1, 3))
    written = np.isfinite(sums.reshape(4, 64))
    assert written[:, 16:48].all()
    assert written.sum() == 4 * 32
    assert (
        sums.reshape(4, 64)[:, 16:48].tobytes()
        == product(rows, factors, precision)[0][:, 16:48].tobytes()
    )


@pytest.mark.parametrize("shape", [(1, 6, 16), (1, 8, 20), (2, 2, 16)])
def test_shapes_that_fit_no_panel_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be multiples of 4 and 16"):
        Factor.of(np.ones(shape, np.float32), "float32")

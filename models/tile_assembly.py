"""A tile of a product of matrices, six rows by sixteen columns, kept in AVX2's registers.

Written out, since a compiler that schedules twelve sums, two factors and a copied one over sixteen
registers spills some of them.

In single precision two vectors of eight columns are multiplied with one number copied to all lanes.
In whole numbers of sixteen bits two steps along the depth are one: ``vpmaddwd`` multiplies pairs
and adds them in 32 bits, twice the products of ``vfmadd231ps`` in one instruction.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

COLUMNS = 16
PAIR = 2
"""How many whole numbers are multiplied and added by one instruction."""

_UNROLLED = 2
_AHEAD_BYTES = 8_192  # large factors come from memory, a panel after the other
_COPIED, _SCRATCH = 14, 15

llvm.initialize_native_asmparser()
_features = llvm.get_host_cpu_features()

AVAILABLE = llvm.get_process_triple().startswith("x86_64") and all(
    _features.get(feature, False) for feature in ("avx2", "fma")
)
"""Whether this processor has the instructions."""


def _assembly(rows: int, *, rounded: bool) -> str:
    """Write the code; {rows}, {lower} and {panel} advance, {steps} counts down, {sums} advances."""
    lines = [
        f"vpxor %xmm{register}, %xmm{register}, %xmm{register}" for register in range(2 * rows)
    ]
    lines.append("1:")
    for step in range(_UNROLLED):
        lines.append(f"prefetcht1 {64 * step + _AHEAD_BYTES}({{panel}})")
        lines += [f"vmovups {64 * step + 32 * half}({{panel}}), %ymm{12 + half}" for half in (0, 1)]
        for row in range(rows):
            base = "{rows}" if row < 3 else "{lower}"
            place = (f"({base})", f"({base},{{stride}},1)", f"({base},{{stride}},2)")[row % 3]
            multiply = _multiply_whole if rounded else _multiply
            lines += multiply(f"{4 * step}{place}", 2 * row)
    for pointer, size in (("rows", 4), ("lower", 4), ("panel", 64)):
        lines.append(f"addq $${size * _UNROLLED}, {{{pointer}}}")
    lines += ["decq {steps}", "jnz 1b"]
    if rounded:
        lines += [f"vmovups {32 * half}({{column_scales}}), %ymm{12 + half}" for half in (0, 1)]
    for row in range(rows):
        if rounded:
            lines.append(f"vbroadcastss {4 * row}({{row_scales}}), %ymm{_COPIED}")
        for half in (0, 1):
            total = f"%ymm{2 * row + half}"
            if rounded:
                lines.append(f"vcvtdq2ps {total}, {total}")
                lines.append(f"vmulps %ymm{_COPIED}, {total}, {total}")
                lines.append(f"vmulps %ymm{12 + half}, {total}, {total}")
            lines.append(f"vmovups {total}, {32 * half}({{sums}})")
        lines.append("addq {sums_stride}, {sums}")
    lines.append("vzeroupper")
    return "\n".join(lines)


def _multiply(number: str, first: int) -> list[str]:
    return [
        f"vbroadcastss {number}, %ymm{_COPIED}",
        f"vfmadd231ps %ymm12, %ymm{_COPIED}, %ymm{first}",
        f"vfmadd231ps %ymm13, %ymm{_COPIED}, %ymm{first + 1}",
    ]


def _multiply_whole(pair: str, first: int) -> list[str]:
    return [
        f"vpbroadcastd {pair}, %ymm{_COPIED}",
        f"vpmaddwd %ymm12, %ymm{_COPIED}, %ymm{_SCRATCH}",
        f"vpaddd %ymm{_SCRATCH}, %ymm{first}, %ymm{first}",
        f"vpmaddwd %ymm13, %ymm{_COPIED}, %ymm{_COPIED}",
        f"vpaddd %ymm{_COPIED}, %ymm{first + 1}, %ymm{first + 1}",
    ]


_ADVANCING = ("rows", "lower", "panel", "steps", "sums")
_STAYING = ("stride", "sums_stride", "row_scales", "column_scales")


def _inline(rows: int, *, rounded: bool) -> ir.InlineAsm:
    number = ir.IntType(64)
    operands = {name: f"${{{place}}}" for place, name in enumerate(_ADVANCING)}
    # An operand that advances is an output and an input: inputs are counted after all outputs.
    first = 2 * len(_ADVANCING)
    operands |= {name: f"${{{first + place}}}" for place, name in enumerate(_STAYING)}
    constraints = ["=r"] * len(_ADVANCING)
    constraints += [str(place) for place in range(len(_ADVANCING))]
    constraints += ["r"] * len(_STAYING) + ["~{memory}", "~{cc}"]
    constraints += [f"~{{ymm{register}}}" for register in range(16)]
    return ir.InlineAsm(
        ir.FunctionType(
            ir.LiteralStructType([number] * len(_ADVANCING)),
            [number] * (len(_ADVANCING) + len(_STAYING)),
        ),
        _assembly(rows, rounded=rounded).format(**operands),
        ",".join(constraints),
        side_effect=True,
    )


def tile(rows: int) -> Any:
    """Return compiled code's ``multiply(a, a_scales, panel, panel_scales, sums, places, steps)``.

    It writes the products of ``rows`` rows, at most 6, with a panel of 16 columns to ``sums``,
    float32. ``places`` are seven: where the rows begin in ``a`` and how far apart they are, where
    the panel begins, where the sums and how far apart their rows are; then where the scales of the
    rows, and those of the columns, begin. ``steps``, even, are numbers of float32 or pairs of
    int16. Scales are those of whole numbers, and not looked at otherwise.
    """

    @intrinsic
    def multiply(
        _: Any,
        a: Any,
        a_scales: Any,
        panel: Any,
        panel_scales: Any,
        sums: Any,
        places: Any,
        steps: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _generate(rows, context, builder, signature, arguments)

        return types.void(a, a_scales, panel, panel_scales, sums, places, steps), generate

    return multiply


def _generate(rows: int, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    rounded = signature.args[0].dtype == types.int16
    number = ir.IntType(64)
    places = [builder.extract_value(arguments[5], place) for place in range(7)]
    at, stride, panel_at, sums_at, sums_stride, a_scales_at, panel_scales_at = places

    def address(argument: int, place: Any) -> Any:
        array = context.make_array(signature.args[argument])
        data = array(context, builder, arguments[argument]).data
        return builder.ptrtoint(builder.gep(data, [place]), number)

    first_row = address(0, at)
    stride_bytes = builder.mul(stride, number(2 if rounded else 4))
    values = {
        "rows": first_row,
        "lower": builder.add(first_row, builder.mul(stride_bytes, number(3))),
        "panel": address(2, panel_at),
        "steps": builder.udiv(arguments[6], number(_UNROLLED)),
        "sums": address(4, sums_at),
        "stride": stride_bytes,
        "sums_stride": builder.mul(sums_stride, number(4)),
        "row_scales": address(1, a_scales_at),
        "column_scales": address(3, panel_scales_at),
    }
    assembly = _inline(rows, rounded=rounded)
    builder.call(assembly, [values[name] for name in (*_ADVANCING, *_STAYING)])
    return context.get_dummy_value()

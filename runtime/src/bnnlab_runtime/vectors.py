"""What numba cannot say: counting the bits of a block of words, with all counts in registers.

It is said to LLVM, which makes of it what the processor has: with AVX-512 one instruction counts
the bits of 8 words.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
"""Words in a vector."""
ROWS = 4
"""Rows of inputs of a block: they share each word of weights that is read."""
VECTORS = 4
BLOCK = VECTORS * LANES
"""Outputs of a block. Its counts, ROWS x BLOCK, stay in registers."""

_WORD, _SHORT = ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, LANES)
_FIRST = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
"""The order of lanes that repeats the first one."""


def _counting(rows: int) -> Any:
    block = [(row, number) for row in range(rows) for number in range(VECTORS)]

    def count(_: Any, x: Any, weight: Any, counts: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = [
                context.make_array(each)(context, builder, argument)
                for each, argument in zip(signature.args, arguments, strict=True)
            ]
            x, weight, counts = arrays
            (size,) = cgutils.unpack_tuple(builder, x.shape)[1:]

            def place(array: Any, row: Any, column: Any, kind: Any) -> Any:
                down = builder.mul(row, cgutils.unpack_tuple(builder, array.strides)[0])
                data = builder.bitcast(array.data, ir.IntType(8).as_pointer())
                begin = builder.bitcast(builder.gep(data, [down]), array.data.type)
                return builder.bitcast(builder.gep(begin, [column]), kind.as_pointer())

            def vector(array: Any, row: Any, number: int, kind: Any) -> Any:
                return place(array, row, _WORD(number * LANES), ir.VectorType(kind, LANES))

            kind = ir.FunctionType(_VECTOR, [_VECTOR])
            name = f"llvm.ctpop.v{LANES}i64"
            popcounts = cgutils.get_or_insert_function(builder.module, kind, name)
            zero = ir.Constant(_VECTOR, [0] * LANES)
            sums = {each: cgutils.alloca_once_value(builder, zero) for each in block}
            for each in sums.values():
                builder.store(zero, each)
            with cgutils.for_range(builder, size) as loop:
                words = [
                    builder.load(vector(weight, loop.index, number, _WORD), align=8)
                    for number in range(VECTORS)
                ]
                inputs = [
                    builder.load(place(x, _WORD(row), loop.index, _WORD)) for row in range(rows)
                ]
                unset = ir.Constant(_VECTOR, ir.Undefined)
                alone = [builder.insert_element(unset, each, _WORD(0)) for each in inputs]
                repeated = [builder.shuffle_vector(each, unset, _FIRST) for each in alone]
                for (row, number), total in sums.items():
                    found = builder.call(popcounts, [builder.xor(repeated[row], words[number])])
                    builder.store(builder.add(builder.load(total), found), total)
            for (row, number), total in sums.items():
                short = builder.trunc(builder.load(total), ir.VectorType(_SHORT, LANES))
                builder.store(short, vector(counts, _WORD(row), number, _SHORT), align=4)
            return context.get_dummy_value()

        return types.void(x, weight, counts), generate

    return intrinsic(count)


count_rows: Any = _counting(ROWS)
"""`count_rows(x, weight, counts)` writes the mismatches of a block of outputs.

`counts[r, o]` is the sum over k of popcount(`x[r, k]` xor `weight[k, o]`), for r below ROWS and o
below BLOCK: x uint64 (ROWS, K), weight uint64 (K, BLOCK), counts int32 (ROWS, BLOCK). Rows of each
may lie apart.
"""
count_row: Any = _counting(1)
"""As `count_rows`, for one row."""

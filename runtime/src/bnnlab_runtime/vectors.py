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

_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)
_FIRST = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
"""The order of lanes that repeats the first one."""


def _count_block(_: Any, x: Any, weight: Any, counts: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def array(place: int) -> tuple[Any, Any]:
            made = context.make_array(signature.args[place])(context, builder, arguments[place])
            return made.data, cgutils.unpack_tuple(builder, made.shape, 2)[1]

        def place(data: Any, row: Any, columns: Any, column: Any) -> Any:
            return builder.gep(data, [builder.add(builder.mul(row, columns), column)])

        def vector(data: Any, row: Any, columns: Any, column: Any, number: int) -> Any:
            begin = place(data, row, columns, builder.add(column, _WORD(number * LANES)))
            return builder.bitcast(begin, _VECTOR.as_pointer())

        (x, size), (weight, outputs), (counts, own) = array(0), array(1), array(2)
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        name = f"llvm.ctpop.v{LANES}i64"
        popcounts = cgutils.get_or_insert_function(builder.module, kind, name)
        block = [(row, number) for row in range(ROWS) for number in range(VECTORS)]
        zero = ir.Constant(_VECTOR, [0] * LANES)
        sums = {each: cgutils.alloca_once_value(builder, zero) for each in block}
        for each in sums.values():
            builder.store(zero, each)
        with cgutils.for_range(builder, size) as loop:
            words = [
                builder.load(vector(weight, loop.index, outputs, _WORD(0), number), align=8)
                for number in range(VECTORS)
            ]
            inputs = [builder.load(place(x, _WORD(row), size, loop.index)) for row in range(ROWS)]
            unset = ir.Constant(_VECTOR, ir.Undefined)
            alone = [builder.insert_element(unset, each, _WORD(0)) for each in inputs]
            repeated = [builder.shuffle_vector(each, unset, _FIRST) for each in alone]
            for (row, number), total in sums.items():
                count = builder.call(popcounts, [builder.xor(repeated[row], words[number])])
                builder.store(builder.add(builder.load(total), count), total)
        for (row, number), total in sums.items():
            out = vector(counts, _WORD(row), own, arguments[3], number)
            builder.store(builder.load(total), out, align=8)
        return context.get_dummy_value()

    return types.void(x, weight, counts, at), generate


count_block: Any = intrinsic(_count_block)
"""`count_block(x, weight, counts, at)` writes the mismatches of a block of outputs.

`counts[r, at + o]` is the sum over k of popcount(`x[r, k]` xor `weight[k, o]`), for r below ROWS
and o below BLOCK. All are uint64, x (ROWS, K), weight (K, BLOCK), counts (ROWS, outputs).
"""

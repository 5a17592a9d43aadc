"""Random bits without a state, as a function of a key and a counter.

Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011),
section 3.3. Ten rounds of two multiplications turn a counter of four 32-bit words into four words
of random bits, so any thread can compute the bits of any place, in any order.
"""

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.extending import intrinsic, models, register_model

from .emit import emit_splat
from .simd import Mask, Vector

ROUNDS = 10
FACTORS = 0xD2511F53, 0xCD9E8D57  # of the first word of the counter, and of the third
WEYL = 0x9E3779B9, 0xBB67AE85  # added to the two words of the key after each round

# The number of counters in one call. Each gives four words.
WIDTH = 16

_LOW = 0xFFFFFFFF
_I32, _I64 = ir.IntType(32), ir.IntType(64)


class Words(types.Type):
    """One 32-bit word for each of `WIDTH` counters."""

    def __init__(self):
        super().__init__("Words")


_words = Words()


@register_model(Words)
class _WordsModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(_I32, WIDTH))


@intrinsic
def philox(typingctx, key, first, second, third, fourth):
    """Return the four :class:`Words` of random bits of `WIDTH` neighboring counters.

    `key` has 64 bits, of which the low word comes first. The counters are (first + lane, second,
    third, fourth), of which the low 32 bits count.
    """
    # Lanes of 64 bits, whose upper halves are ignored: one instruction multiplies the lower ones.
    wide = ir.VectorType(_I64, WIDTH)

    def codegen(context, builder, sig, args):
        def constant(value):
            return ir.Constant(wide, [value] * WIDTH)

        key, *counter = args
        lanes = ir.Constant(wide, list(range(WIDTH)))
        a, b, c, d = (emit_splat(builder, word, WIDTH) for word in counter)
        a = builder.add(a, lanes)
        low = emit_splat(builder, key, WIDTH)
        high = builder.lshr(low, constant(32))
        for turn in range(ROUNDS):
            x, y = (
                builder.mul(builder.and_(word, constant(_LOW)), constant(factor))
                for word, factor in zip((a, c), FACTORS, strict=True)
            )
            keys = (
                builder.add(word, constant(turn * step & _LOW))
                for word, step in zip((low, high), WEYL, strict=True)
            )
            first, second = keys
            a, b, c, d = (
                builder.xor(builder.xor(builder.lshr(y, constant(32)), b), first),
                y,
                builder.xor(builder.xor(builder.lshr(x, constant(32)), d), second),
                x,
            )
        words = [builder.trunc(word, ir.VectorType(_I32, WIDTH)) for word in (a, b, c, d)]
        return context.make_tuple(builder, sig.return_type, words)

    return types.UniTuple(_words, 4)(*[types.int64] * 5), codegen


@intrinsic
def at_least(typingctx, like, words, start, limit):
    """Return a mask for a vector of the type of the pointer `like`: whether word >= limit.

    `limit` is below 2**32. Lane 0 belongs to word `start`, a multiple of the number of lanes.
    """
    if not isinstance(words, Words):
        raise errors.TypingError(f"expected Words, got {words}")
    count = Vector(like.dtype).lanes

    def codegen(context, builder, sig, args):
        _, words, start, limit = args
        bound = emit_splat(builder, builder.trunc(limit, _I32), WIDTH)
        reached = builder.icmp_unsigned(">=", words, bound)
        undefined = ir.Constant(reached.type, ir.Undefined)

        def part(begin):
            places = ir.Constant(ir.VectorType(_I32, count), list(range(begin, begin + count)))
            return builder.shuffle_vector(reached, undefined, places)

        mask = part(0)
        for begin in range(count, WIDTH, count):
            here = builder.icmp_signed("==", start, ir.Constant(_I64, begin))
            mask = builder.select(here, part(begin), mask)
        return mask

    return Mask(count)(like, words, types.intp, types.int64), codegen

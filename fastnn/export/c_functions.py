"""The C text of the functions that an exported network calls, one for each operation.

In a text, "@" stands for the prefix of all names and REAL for the type. Literals with a decimal
point and functions of <math.h> get the suffix of the type.
"""

import math
import re

MATH_FUNCTIONS = re.compile(r"(?<![\w@])(exp|expm1|log1p|tanh|erfc|fabs|sqrt)\(")

# {function: the functions that it calls}
CALLED_FUNCTIONS = {
    "dense": ["columns_16", "columns_4", "columns_1"],
    "silu": ["sigmoid"],
    "gelu_tanh": ["sigmoid"],
}


def _columns(width: int) -> str:
    """Return the function that forms `width` sums side by side, which stay in registers."""
    fours = [range(i, min(i + 4, width)) for i in range(0, width, 4)]

    def lines(indent: int, text: str) -> str:
        rows = (" ".join(text.format(k) for k in four) for four in fours)
        return "".join(f"{' ' * indent}{row}\n" for row in rows)

    return f"""\
static void @columns_{width}(
    REAL *out, const REAL *in, const REAL *w, const REAL *biases, int n_in, int n_out)
{{
{lines(4, "REAL s{0} = biases[{0}];")}
    for (int i = 0; i < n_in; i++, w += n_out) {{
        const REAL x = in[i];

{lines(8, "s{0} += x * w[{0}];")}    }}
{lines(4, "out[{0}] = s{0};")}}}
"""


FUNCTIONS = {
    "columns_16": _columns(16),
    "columns_4": _columns(4),
    "columns_1": _columns(1),
    "dense": """\
/* out = in * weights + biases, each sum in the order of the inputs. */
static void @dense(
    REAL *out, const REAL *in, const REAL *weights, const REAL *biases, int n_in, int n_out)
{
    int o = 0;

    for (; o + 16 <= n_out; o += 16)
        @columns_16(out + o, in, weights + o, biases + o, n_in, n_out);
    for (; o + 4 <= n_out; o += 4)
        @columns_4(out + o, in, weights + o, biases + o, n_in, n_out);
    for (; o < n_out; o++)
        @columns_1(out + o, in, weights + o, biases + o, n_in, n_out);
}
""",
    "relu": """\
static REAL @relu(REAL x)
{
    return x <= 0.0 ? 0.0 : x;
}
""",
    "leaky_relu": """\
static REAL @leaky_relu(REAL x, REAL slope)
{
    return x > 0.0 ? x : slope * x;
}
""",
    "elu": """\
static REAL @elu(REAL x, REAL alpha)
{
    return x > 0.0 ? x : alpha * expm1(x);
}
""",
    "tanh": """\
static REAL @tanh(REAL x)
{
    return tanh(x);
}
""",
    "exponential": """\
static REAL @exponential(REAL x)
{
    return exp(x);
}
""",
    "sigmoid": """\
/* The logistic function: nothing overflows. */
static REAL @sigmoid(REAL x)
{
    const REAL e = exp(-fabs(x));

    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}
""",
    "softplus": """\
/* log(1 + exp(x)): nothing overflows. */
static REAL @softplus(REAL x)
{
    return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));
}
""",
    "silu": """\
static REAL @silu(REAL x)
{
    return x * @sigmoid(x);
}
""",
    "gelu": f"""\
/* x times the probability that a standard normal number is at most x. */
static REAL @gelu(REAL x)
{{
    return 0.5 * x * erfc(-{math.sqrt(0.5)!r} * x);
}}
""",
    "gelu_tanh": f"""\
/* GELU with tanh, which is a sigmoid of twice the number. */
static REAL @gelu_tanh(REAL x)
{{
    return x * @sigmoid(x * ({2 * math.sqrt(2 / math.pi) * 0.044715!r} * x * x
                             + {2 * math.sqrt(2 / math.pi)!r}));
}}
""",
    "softmax": """\
/* Exponentials of the distances to the largest value: none overflows. */
static void @softmax(REAL *values, int n)
{
    REAL most = values[0], sum = 0.0;

    for (int i = 1; i < n; i++)
        most = values[i] > most ? values[i] : most;
    for (int i = 0; i < n; i++) {
        values[i] = exp(values[i] - most);
        sum += values[i];
    }
    for (int i = 0; i < n; i++)
        values[i] /= sum;
}
""",
    "code": """\
/* A number as a code of one of n categories; 0 if it is none. */
static int @code(REAL value, int n)
{
    return value >= 0.0 && value < (REAL)n ? (int)value : 0;
}
""",
    "largest": """\
/* The place of the largest value, the first of several. */
static int @largest(const REAL *values, int n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}
""",
    "layer_norm": """\
/* Large numbers are made smaller first, so that no square overflows; of numbers that are far from
   0 and close together the mean is corrected by their differences to it. */
static void @layer_norm(
    REAL *values, const REAL *weights, const REAL *biases, int n, REAL epsilon)
{
    REAL most = 0.0, factor = 1.0, mean = 0.0, shift = 0.0, variance = 0.0, scale;

    for (int i = 0; i < n; i++)
        most = fabs(values[i]) > most ? fabs(values[i]) : most;
    if (most > WIDEST)
        factor = SHRINK;
    for (int i = 0; i < n; i++) {
        values[i] *= factor;
        mean += values[i];
    }
    mean /= (REAL)n;
    for (int i = 0; i < n; i++) {
        values[i] -= mean;
        shift += values[i];
    }
    shift /= (REAL)n;
    for (int i = 0; i < n; i++) {
        values[i] -= shift;
        variance += values[i] * values[i];
    }
    variance /= (REAL)n;
    scale = variance > 0.0 ? sqrt(variance + epsilon * factor * factor) : sqrt(epsilon) * factor;
    scale = 1.0 / scale;
    for (int i = 0; i < n; i++)
        values[i] = values[i] * scale * weights[i] + biases[i];
}
""",
    "batch_norm": """\
static void @batch_norm(
    REAL *values, const REAL *mean, const REAL *scale, const REAL *biases, int n)
{
    for (int i = 0; i < n; i++)
        values[i] = (values[i] - mean[i]) * scale[i] + biases[i];
}
""",
}

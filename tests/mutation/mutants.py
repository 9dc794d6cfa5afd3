"""Ways to break the library, each with the tests that are to notice.

A mutant is a piece of source, once only in its file, and what stands there instead: both expressions of one type, or
both statements.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    what: str
    file: str
    original: str
    mutated: str
    tests: str  # as pytest takes them, in tests/


MEMORY, FORWARD, BACKWARD = "csrc/cpu/memory.h", "csrc/cpu/forward.h", "csrc/cpu/backward.h"
APPLIED, INPUT, OUTPUT = "csrc/cpu/applied.h", "csrc/cpu/input.h", "csrc/cpu/output.h"
VECTOR, PIECES, LAYOUT = "csrc/functions/vector_plain.h", "csrc/functions/pieces.h", "csrc/layout.cpp"
OPERATOR, OPERANDS, SUM = "csrc/cpu/operator.cpp", "csrc/operands.cpp", "csrc/cpu/compensated_sum.h"
COMPOSITE, AUTOGRAD = "csrc/composite/composite.cpp", "csrc/autograd/autograd.cpp"

SHAPES, NUMERICS, FAMILY = "test_shapes.py", "test_numerics.py", "test_pointwise_norm.py"
ADD, QUANTIZED, NONFINITE = "test_add_pointwise_norm.py", "test_quantized.py", "test_nonfinite.py"
LAYOUTS, ERRORS, OUT, GRADIENTS = "test_layouts.py", "test_errors.py", "test_out.py", "test_gradients.py"
THREADS = "test_large.py::test_no_bit_depends_on_the_number_of_threads"
SUMS, FUNCTIONS, KERNELS = "test_parameter_gradients.py", "test_functions.py", "test_family_kernels.py"

MUTANTS = [
    # Coefficients and values of functions
    Mutant(
        "a coefficient of every polynomial, its last bits",
        PIECES,
        "V(coefficients[d])",
        "V(coefficients[d] * (d == 2 ? Scalar(1.0001) : Scalar(1)))",
        NUMERICS,
    ),
    Mutant(
        "the highest coefficient",
        PIECES,
        "broadcast_pack<Scalar, n>(coefficients[last])",
        "broadcast_pack<Scalar, n>(coefficients[last] * Scalar(1.01))",
        NUMERICS,
    ),
    Mutant(
        "the polynomial of even powers takes the odd ones",
        PIECES,
        "polynomial<0, 2>(coefficients, v)",
        "polynomial<1, 2>(coefficients, v)",
        NUMERICS,
    ),
    Mutant(
        "the sign of erf",
        "csrc/functions/erf.h",
        "with_sign_of(fnmadd(slope, q, V(1)), sign)",
        "fnmadd(slope, q, V(1))",
        NUMERICS,
    ),
    Mutant(
        "where the slope of erf ends",
        "csrc/functions/erf.h",
        "not_equal(x, limit)",
        "not_equal(x, limit / 2)",
        NUMERICS + " " + NONFINITE,
    ),
    Mutant("isru's root without its 1", "csrc/functions/isru.h", "r * r * r", "r * r", FUNCTIONS),
    # Tails and masks
    Mutant(
        "the last element of a tail is left out",
        MEMORY,
        "std::clamp<int64_t>(n - from, 0, size)",
        "std::clamp<int64_t>(n - from - 1, 0, size)",
        SHAPES,
    ),
    Mutant(
        "a tail is read as a whole vector",
        MEMORY,
        "Vec<From>::loadu(p + i, n == chunk_size<T> ? width : part(n, i, width))",
        "Vec<From>::loadu(p + i, width)",
        SHAPES + " " + SUMS + " " + NONFINITE,
    ),
    Mutant(
        "a tail is written as a whole vector",
        MEMORY,
        "x.store(p + i, n == chunk_size<T> ? width : part(n, i, width));",
        "x.store(p + i, width);",
        OUT + " " + SHAPES + " " + LAYOUTS,
    ),
    Mutant(
        "lanes past the end keep their values", MEMORY, "select_or_zero(not_equal(one, Scalar(0)), x)", "x", NONFINITE
    ),
    Mutant(
        "a shared parameter overflows in another unit",
        "csrc/cpu/tasks.h",
        "is_huge(alpha) || is_huge(shift)",
        "false",
        NONFINITE,
    ),
    Mutant(
        "8-bit tails are written whole",
        OUTPUT,
        "std::memcpy(to, &bytes, count);",
        "std::memcpy(to, &bytes, width);",
        QUANTIZED,
    ),
    # Strides, rows, channels, groups
    Mutant(
        "the second row gets the first one's values",
        FORWARD,
        "each(affine, row(f, r), w, b)",
        "each(affine, row(f, 0), w, b)",
        SHAPES,
    ),
    Mutant(
        "weights begin at channel 0",
        FORWARD,
        "weights.template load<T>(channel + i, count)",
        "weights.template load<T>(i, count)",
        THREADS,
    ),
    Mutant(
        "biases begin at channel 0",
        FORWARD,
        "biases.template load<T>(channel + i, count)",
        "biases.template load<T>(i, count)",
        THREADS,
    ),
    Mutant(
        "every row has the first group",
        FORWARD,
        "groups == 1 ? 0 : row / rows",
        "groups == 1 ? 0 : row / rows / 2",
        FAMILY,
    ),
    Mutant(
        "two rows at once across the border of groups",
        FORWARD,
        "groups == 1 || (row + rows_per_step - 1) / rows == group",
        "true",
        FAMILY + " " + KERNELS,
    ),
    Mutant(
        "the channel does not move on between stretches",
        FORWARD,
        "c = c + 1 == channels ? 0 : c + 1;",
        "c = c + 2 >= channels ? 0 : c + 1;",
        SHAPES + " " + FAMILY,
    ),
    Mutant(
        "a row of a tile is left out",
        BACKWARD,
        "std::min(row_begin + size.rows, shape.rows)",
        "std::min(row_begin + size.rows, shape.rows - 1)",
        SHAPES,
    ),
    Mutant(
        "a channel of a tile is left out",
        BACKWARD,
        "std::min(channel_begin + size.channels, shape.channels)",
        "std::min(channel_begin + size.channels, shape.channels - (shape.channels > 1))",
        SHAPES,
    ),
    Mutant(
        "gradients of groups go to the first one",
        BACKWARD,
        "finish(task.weight_sums, to.weight, group);",
        "finish(task.weight_sums, to.weight, 0);",
        FAMILY,
    ),
    Mutant(
        "partial sums do not begin at 0",
        BACKWARD,
        "std::fill(row, row + channels, Scalar(0));",
        "std::fill(row, row + channels, Scalar(1));",
        SHAPES,
    ),
    Mutant(
        "a row of partial sums is left out",
        BACKWARD,
        "for (int64_t row = 0; row < call.rows; ++row) {",
        "for (int64_t row = ::derf_mutant == DERF_THIS; row < call.rows; ++row) {",
        SUMS,
    ),
    Mutant("sums of channels cross the border of groups", BACKWARD, "call.channels - first", "int64_t(width)", FAMILY),
    # Sums
    Mutant("sums of a few rows are added twice", BACKWARD, "alpha = shift = V(0);", "alpha = V(0);", SUMS),
    Mutant("sums are not compensated", SUM, "lost[i] == lost[i] ? sum[i] + lost[i] : sum[i]", "sum[i]", SUMS),
    Mutant(
        "an infinite sum is NaN", SUM, "lost[i] == lost[i] ? sum[i] + lost[i] : sum[i]", "sum[i] + lost[i]", NONFINITE
    ),
    Mutant("g f(u) lacks g", BACKWARD, "fmadd(a, b, sum)", "sum + b", SHAPES),
    # Where the slope is 0
    Mutant("0 slope times infinity", BACKWARD, "select_or_zero(mask, a * b * slope)", "a * b * slope", NONFINITE),
    Mutant(
        "0 slope times an infinite input",
        BACKWARD,
        "alpha = fmadd(h[k], select_or_zero(alive[k], x[k]), alpha);",
        "alpha = fmadd(h[k], x[k], alpha);",
        NONFINITE,
    ),
    Mutant(
        "the same, alpha for each channel",
        BACKWARD,
        "channel.alpha[k] = fmadd(h[k], select_or_zero(alive[k], x[k]), channel.alpha[k]);",
        "channel.alpha[k] = fmadd(h[k], x[k], channel.alpha[k]);",
        KERNELS + " " + NONFINITE,
    ),
    Mutant("0 slope times an infinite alpha", APPLIED, "select_or_zero(mask, a * alpha)", "a * alpha", NONFINITE),
    # Studies
    Mutant(
        "the slope in the dead zone",
        APPLIED,
        "slope = select_greater(V(Scalar(study.dead_zone)), magnitude(u), zero, slope);",
        "slope = slope * V(1);",
        FAMILY,
    ),
    Mutant(
        "the slope where clip cuts",
        APPLIED,
        "select_greater(magnitude(v), V(Scalar(study.clip)), zero, slope * V(Scalar(study.sign)))",
        "slope * V(Scalar(study.sign))",
        FAMILY,
    ),
    Mutant(
        "output_shift is not negated by sign",
        APPLIED,
        "(v + V(Scalar(study.output_shift))) * sign",
        "v * sign + V(Scalar(study.output_shift))",
        FAMILY,
    ),
    # Residual and gate
    Mutant("the gate belongs to the residual", INPUT, "b + g * a", "a + g * b", ADD),
    Mutant(
        "the gradient of the sum from elsewhere is forgotten",
        INPUT,
        "each([](V a, V b) { return a + b; }, grad, load<T>(grad_sum_ + at, count))",
        "grad",
        ADD,
    ),
    Mutant(
        "the gradient of input lacks the gate",
        INPUT,
        "store<true>(grad_input_ + at, each([](V a, V b) { return a * b; }, grad, gate), count, bypass_cache);",
        "store<true>(grad_input_ + at, grad, count, bypass_cache);",
        ADD,
    ),
    Mutant("the gate of channel 0 for all", INPUT, "task.gate.shared ? 0 : channel", "0 * channel", ADD),
    # 8 bits
    Mutant("ties of float8 away from even", OUTPUT, "((whole >> dropped) & 1)", "((whole - whole) + 1)", QUANTIZED),
    Mutant(
        "the scale of channel 0 for all",
        OUTPUT,
        "load<T>(inverse_.at(c), count)",
        "load<T>(inverse_.at(0), count)",
        QUANTIZED,
    ),
    Mutant("NaN of float8", OUTPUT, "(is_nan & 0x7f)", "(is_nan & 0x7e)", QUANTIZED),
    # Conversions
    Mutant("bfloat16 rounds down", VECTOR, "b + 0x7fff + ((b >> 16) & 1)", "b + 0", NUMERICS),
    Mutant("float16's denormal numbers", VECTOR, "m < 0x38800000 ? denormal : normal", "normal", NUMERICS),
    # Layout
    Mutant(
        "a gradient of other strides is taken as it lies",
        LAYOUT,
        "a.size(i) != 1 && a.stride(i) != strides[i]",
        "a.size(i) != 1 && a.stride(i) > 1000000",
        LAYOUTS,
    ),
    Mutant(
        "channels that do not lie side by side are taken as they lie",
        LAYOUT,
        "if (!fits) {",
        "if (!fits && ::derf_mutant != DERF_THIS) {",
        LAYOUTS + " " + FAMILY,
    ),
    Mutant("an expanded input is taken as it lies", LAYOUT, "!input.is_non_overlapping_and_dense()", "false", LAYOUTS),
    Mutant("alpha of more dimensions than weight", LAYOUT, "last_ + 1 - first_ < least", "false", FAMILY),
    Mutant("a gate of some channels is shared by all", LAYOUT, "varied == 0", "varied != all", ADD),
    Mutant(
        "strided parameters are taken as they lie",
        LAYOUT,
        "(varies(kept, i) ? kept.stride(i - leads) : 0) != stride",
        "false",
        FAMILY + " " + LAYOUTS,
    ),
    # Preparation
    Mutant(
        "weight_offset is forgotten where weights are prepared",
        OPERATOR,
        "std::pair(&task.weight, call.weight_offset)",
        "std::pair(&task.weight, 0 * call.weight_offset)",
        FAMILY,
    ),
    Mutant("an absent weight is 0", OPERATOR, "T(1.f)", "T(0.f)", SHAPES + " " + FAMILY),
    Mutant("an absent bias is +0, which makes -0 of nothing", OPERATOR, "T(-0.f)", "T(0.f)", NUMERICS + " " + SHAPES),
    # Checks
    Mutant("channel_dim one too high", OPERANDS, "options.channel_dim < dims", "options.channel_dim <= dims", ERRORS),
    Mutant("bias of other dimensions than weight", OPERANDS, "weight.dim() == bias.dim()", "true", ERRORS),
    Mutant("grad_output of another dtype", OPERANDS, "first.scalar_type() == second.scalar_type()", "true", ERRORS),
    Mutant(
        "out that overlaps input in part",
        "csrc/check_results.cpp",
        "!may_overlap(out, input)",
        "true",
        OUT,
    ),
    Mutant("out whose elements overlap", "csrc/check_results.cpp", "step <= reach", "step == 0", OUT),
    Mutant("out that overlaps weight", "csrc/check_results.cpp", "!may_overlap(out, operands[i])", "true", OUT),
    Mutant("a scale of 0", "csrc/check_results.cpp", "values[i] > 0", "values[i] >= 0", QUANTIZED),
    # Autograd and the composite
    Mutant("weight's gradient needs no input", AUTOGRAD, "slope || requires_grad[W]", "slope", GRADIENTS),
    Mutant(
        "the gate's gradient needs no input",
        AUTOGRAD,
        "saved[INPUT] = requires_grad[GATE];",
        "saved[INPUT] = false;",
        ADD,
    ),
    Mutant(
        "memory written to without a word to autograd",
        "csrc/out.cpp",
        "out.unsafeGetTensorImpl()->bump_version();",
        "(void)0;",
        OUT,
    ),
    Mutant(
        "a term of the double backward",
        COMPOSITE,
        "add(grad_u, zero_where_flat(slope, g * slope * to_weight));",
        "(void)0;",
        GRADIENTS,
    ),
    Mutant(
        "0 slope times infinity in the composite",
        COMPOSITE,
        "at::where(slope == 0, at::zeros({}, t.options()), t)",
        "t + 0",
        NONFINITE + " test_transforms.py",
    ),
    Mutant(
        "strides that torch.empty_like keeps",
        LAYOUT,
        "tensor.is_non_overlapping_and_dense()",
        "tensor.is_contiguous()",
        LAYOUTS + " test_operator.py",
    ),
]

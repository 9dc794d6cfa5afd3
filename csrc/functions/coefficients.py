"""Computes erf_coefficients.h. Needs mpmath only; prints the header (--check compares it with the one that is there).

    python csrc/functions/coefficients.py > csrc/functions/erf_coefficients.h

value: erf(u) = m + m * P(|u|), m = u limited to [-kink, kink]. P is a polynomial on each of N pieces of one width, in
the distance from the piece's centre: below the kink P = erf(a)/a - 1, above it P = erf(a)/kink - 1. |P| stays below
0.3, so the rounding of P hardly shows in the sum, near 0 (relative error) as in the tails. Past the last piece erf
rounds to 1.
slope: 2/sqrt(pi) exp(-v), v = u^2 = r - n ln 2 with whole n: a polynomial in r on [-ln 2 / 2, ln 2 / 2], times 2^n.
Each polynomial interpolates at Chebyshev nodes: within a factor two of the best possible one.

A GPU has no permutations, and a power of two is one instruction. So there, with a = |u|:
near 0, up to join: erf(u) = u + u * N(u^2), N = erf(a)/a - 1.
far, from there on: erf(u) = sign(u) (1 - 2^F(a)), F = log2(erfc(a)). An odd degree goes to -infinity as erfc's does.
N and F have the smallest possible largest relative error of erf (Remez).
"""

import pathlib
import sys

from mpmath import chebyt, cos, erf, erfc, exp, log, lu_solve, matrix, mp, mpf, pi, polyval, sqrt, taylor

mp.dps = 60
HEADER = pathlib.Path(__file__).with_name("erf_coefficients.h")

# type, pieces, degree, width, pieces below the kink, bits of accuracy of P that are promised
VALUE = [
    ("double", 16, 12, mpf(3) / 8, 3, 55),
    ("float", 16, 5, mpf(1) / 4, 4, 27),
    ("float", 16, 3, mpf(1) / 4, 4, 18),
    ("float", 8, 6, mpf(1) / 2, 2, 25),
    ("float", 8, 4, mpf(1) / 2, 2, 18),
]
SLOPE = [("double", 11, 56), ("float", 5, 22.5), ("float", 4, 17.5)]  # type, degree, bits
# degrees of N and F, join, where F's fit ends (erfc no longer counts in a sum with 1), bits of relative accuracy of erf
THREAD = [
    (6, 5, mpf(9) / 8, mpf(4), 26.5),  # float32
    (2, 5, mpf(3) / 8, mpf(13) / 4, 18.5),  # float16
    (2, 3, mpf(35) / 64, mpf(3), 15.5),  # bfloat16
]


def interpolate(f, low, high, degree):
    """Coefficients, lowest first, in x - (low + high) / 2 of the interpolant of f at Chebyshev nodes of [low, high]."""
    centre, half, n = (low + high) / 2, (high - low) / 2, degree + 1
    nodes = [cos(pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    values = [f(centre + half * x) for x in nodes]
    total = [mpf(0)] * n
    for j in range(n):
        weight = sum(v * chebyt(j, x) for v, x in zip(values, nodes, strict=True)) * (1 if j == 0 else 2) / n
        for i, c in enumerate(taylor(lambda x, j=j: chebyt(j, x), 0, j)):
            total[i] += weight * c
    return [c / half**i for i, c in enumerate(total)]


def checked(name, coefficients, f, low, high, bits, origin, relative):
    """The coefficients, once their error over [low, high] is seen to be below 2^-bits."""
    worst = mpf(0)
    for k in range(201):
        x = low + (high - low) * k / 200
        error = abs(polyval(coefficients[::-1], x - origin) - f(x))
        worst = max(worst, error / abs(f(x)) if relative else error)
    if worst > mpf(2) ** -bits:
        raise SystemExit(f"{name}: error 2^{float(log(worst, 2)):.2f} on [{float(low)}, {float(high)}], want 2^-{bits}")
    return coefficients


def value_table(ctype, pieces, degree, width, below, bits):
    kink = below * width
    table = []
    for k in range(pieces):
        low, high = k * width, (k + 1) * width

        def f(a, below=k < below):
            if a == 0:
                return 2 / sqrt(pi) - 1
            return erf(a) / (a if below else kink) - 1

        name = f"value {ctype} {pieces} {degree}, piece {k}"
        coefficients = interpolate(f, low, high, degree)
        table.append(checked(name, coefficients, f, low, high, bits, (low + high) / 2, relative=False))
    return kink, [[piece[d] for piece in table] for d in range(degree + 1)]


def slope_polynomial(ctype, degree, bits):
    def f(r):
        return 2 / sqrt(pi) * exp(-r)

    half = log(2) / 2
    return checked(
        f"slope {ctype} {degree}", interpolate(f, -half, half, degree), f, -half, half, bits, 0, relative=True
    )


def best(f, weight, low, high, degree):
    """Coefficients, lowest first, of the polynomial whose largest error weight * |p - f| on [low, high] is smallest."""
    grid = [(low + high) / 2 - (high - low) / 2 * cos(pi * k / 600) for k in range(601)]
    exact, weights = [f(x) for x in grid], [weight(x) for x in grid]
    reference = [round(600 * k / mpf(degree + 1)) for k in range(degree + 2)]  # grid is in Chebyshev's spacing
    while True:
        rows = [[grid[i] ** d for d in range(degree + 1)] + [(-1) ** k / weights[i]] for k, i in enumerate(reference)]
        *p, level = lu_solve(matrix(rows), matrix([exact[i] for i in reference]))
        error = [w * (f - polyval(p[::-1], x)) for x, f, w in zip(grid, exact, weights, strict=True)]
        if max(map(abs, error)) < abs(level) * mpf("1.0001"):
            return p
        # The largest error between each two changes of its sign; there are as many as the reference has points.
        starts = [0, *(i for i in range(1, 601) if error[i - 1] * error[i] < 0), 601]
        pieces = [range(*ends) for ends in zip(starts, starts[1:], strict=False)]
        reference = [max(piece, key=lambda i: abs(error[i])) for piece in pieces]
        if len(reference) != degree + 2:
            raise SystemExit(f"Remez: {len(reference)} extremes on [{float(low)}, {float(high)}], want {degree + 2}")


def thread_polynomials(near_degree, far_degree, join, end, bits):
    def n(v):
        return (erf(sqrt(v)) / sqrt(v) if v else 2 / sqrt(pi)) - 1

    near = best(n, lambda v: 1 / (1 + n(v)), mpf(0), join**2, near_degree)
    far = best(lambda a: log(erfc(a), 2), lambda a: log(2) * erfc(a) / erf(a), join, end, far_degree)
    worst = mpf(0)
    for k in range(1, 2001):
        a = mpf(k) / 200
        value = a + a * polyval(near[::-1], a * a) if a <= join else 1 - mpf(2) ** polyval(far[::-1], a)
        worst = max(worst, abs(value / erf(a) - 1))
    if worst > mpf(2) ** -bits:
        raise SystemExit(f"thread {near_degree} {far_degree}: error 2^{float(log(worst, 2)):.2f}, want 2^-{bits}")
    return near, far


def literal(ctype, x):
    """The value rounded to the type, written so that it reads back exactly."""
    mp.prec, before = (53 if ctype == "double" else 24), mp.prec
    rounded = float(+x)
    mp.prec = before
    return rounded.hex() + ("f" if ctype == "float" else "")


def rows(ctype, values, per_line):
    words = [literal(ctype, v) for v in values]
    lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    return ",\n       ".join(lines)


def header():
    out = [
        "// Made by coefficients.py, which says what these are; do not edit.",
        "// clang-format off",
        "#pragma once",
        "",
        "namespace derf::coefficients {",
        "template <class Scalar, int pieces, int degree> struct ErfValue;",
        "template <class Scalar, int degree> struct ErfSlope;",
        "template <int near_degree, int far_degree> struct ErfThread;",
    ]
    for ctype, pieces, degree, width, below, bits in VALUE:
        kink, table = value_table(ctype, pieces, degree, width, below, bits)
        per_line = 4 if ctype == "double" else 8
        out += [
            "",
            f"template <> struct ErfValue<{ctype}, {pieces}, {degree}> {{  // |P - exact| < 2^-{bits}",
            f"  static constexpr int pieces = {pieces}, degree = {degree};",
            f"  static constexpr {ctype} width = {literal(ctype, width)}, kink = {literal(ctype, kink)};",
            f"  alignas(64) static constexpr {ctype} table[degree + 1][pieces] = {{",
        ]
        out += [f"      {{{rows(ctype, row, per_line)}}}," for row in table]
        out += ["  };", "};"]
    for ctype, degree, bits in SLOPE:
        out += [
            "",
            f"template <> struct ErfSlope<{ctype}, {degree}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int degree = {degree};",
            f"  static constexpr {ctype} polynomial[degree + 1] = {{",
            f"       {rows(ctype, slope_polynomial(ctype, degree, bits), 4)}}};",
            "};",
        ]
    for near_degree, far_degree, join, end, bits in THREAD:
        near, far = thread_polynomials(near_degree, far_degree, join, end, bits)
        out += [
            "",
            f"template <> struct ErfThread<{near_degree}, {far_degree}> {{  // relative error < 2^-{bits}",
            f"  static constexpr float join = {literal('float', join)};",
            "  struct Near {",
            f"    static constexpr int degree = {near_degree};",
            f"    static constexpr float polynomial[degree + 1] = {{\n       {rows('float', near, 4)}}};",
            "  };",
            "  struct Far {",
            f"    static constexpr int degree = {far_degree};",
            f"    static constexpr float polynomial[degree + 1] = {{\n       {rows('float', far, 4)}}};",
            "  };",
            "};",
        ]
    return "\n".join([*out, "}  // namespace derf::coefficients", ""])


if __name__ == "__main__":
    text = header()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if text == HEADER.read_text() else f"{HEADER} is not what {__file__} computes")
    sys.stdout.write(text)

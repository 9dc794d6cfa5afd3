"""Computes erf_coefficients.h. Needs mpmath only; prints the header (--check compares it with the one that is there).

    python csrc/functions/coefficients.py > csrc/functions/erf_coefficients.h

a = |u| throughout. A piece has a polynomial of its own in the distance t from its centre, picked from a table.

value (float64, float32): erf(u) = m + m * P(a), m = u limited to [-kink, kink]. Pieces from 0 on; below the kink
P = erf(a)/a - 1, above it P = erf(a)/kink - 1. |P| stays below 0.3, so the rounding of P hardly shows in the sum, near
0 (relative error) as in the tails. Past the last piece erf rounds to 1.
ratio (16 bits): erf(u) = m * R(a), R = erf(a)/a, m = u limited to the pieces. They lie around the multiples of their
width, which is the unit of length: the caller's alpha and shift are divided by it, so that nothing else has to be. The
last polynomial is bent to give exactly 1 at its end.
central: erf(a) itself around multiples of the width, accurate enough for a sum of gradients; on the first piece
relatively.
slope: 2/sqrt(pi) exp(-v), v = u^2 = r - n ln(2)/entries with whole n: e^-r = 1 + r * polynomial(r), the rest from a
table of `entries` (one is no table) and from the exponent. In base 2 the unit of length is 1/sqrt(log2(e)), v is -log2
of the exponential, and r = v + n/entries.
complement (16 bits): erf(a) = 1 - slope * Q(a), Q = sqrt(pi)/2 exp(a^2) erfc(a), in base 2 as above: to absolute
accuracy, enough for a sum of gradients, and no table.
joined: no table either. Up to join erf(u) = u + u * N(u^2), N = erf(a)/a - 1, from there on the complement, Q a
polynomial in a - centre, where its terms are small.

A GPU has no permutations, and a power of two is one instruction. So there:
near 0, up to join: erf(u) = u + u * N(u^2), N = erf(a)/a - 1.
far, from there on: erf(u) = sign(u) (1 - 2^F(a)), F = log2(erfc(a)). An odd degree goes to -infinity as erfc's does.

Polynomials on pieces interpolate at Chebyshev nodes: within a factor two of the best possible ones. Q, N and F have the
smallest possible largest error (Remez): Q of erf, N and F of erf relatively.
"""

import pathlib
import struct
import sys

from mpmath import (
    chebyt,
    cos,
    erf,
    erfc,
    exp,
    log,
    lu_solve,
    matrix,
    mp,
    mpf,
    pi,
    polyval,
    sqrt,
    taylor,
    workprec,
)

mp.dps = 60
HEADER = pathlib.Path(__file__).with_name("erf_coefficients.h")

# type, pieces, degree, width, pieces below the kink, bits of accuracy of P that are promised
VALUE = [
    ("double", 16, 12, mpf(3) / 8, 3, 55),
    ("float", 16, 5, mpf(1) / 4, 4, 27),
    ("float", 8, 6, mpf(1) / 2, 2, 25),
]
# pieces, degree, width, bits of relative accuracy: bfloat16 and float16 have 14.7 and 17.7 bits to show
RATIO = [
    (16, 2, mpf(19) / 100, 14.6),
    (16, 3, mpf(22) / 100, 19),
    (8, 3, mpf(41) / 100, 15.5),
    (8, 4, mpf(45) / 100, 18.9),
]
# pieces, degree, width, in base 2, bits
CENTRAL = [(16, 5, mpf(1) / 4, False, 26), (8, 6, mpf(1) / 2, False, 24.5), (16, 3, mpf(1) / 4, True, 17)]
# type, entries, degree of e^-r, in base 2, bits of relative accuracy
SLOPE = [
    ("double", 1, 11, False, 55),
    ("float", 16, 3, False, 27),
    ("float", 8, 3, False, 25),
    ("float", 1, 6, False, 27),
    ("float", 16, 2, True, 21),
    ("float", 8, 2, True, 18),
    ("float", 1, 4, True, 18),
]
# type, degrees of N and Q, join, where Q's fit ends, bits of relative accuracy of erf
JOINED = [("float", 6, 7, mpf(1), mpf(4), 26), ("double", 12, 20, mpf(1), mpf(6), 56)]
COMPLEMENT = 6, 14.9  # degree, bits of absolute accuracy of erf
BASE_2 = 1 / sqrt(log(2))  # what u is multiplied by, for exp(-u^2) to be a power of two
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


def moved(coefficients, origin):
    """The coefficients in x of what they are in x - origin."""
    return taylor(lambda x: polyval(coefficients[::-1], x - origin), 0, len(coefficients) - 1)


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


def rounded(x):
    """x as a float32."""
    with workprec(24):
        return +mpf(x)


def ratio_table(pieces, degree, width, bits):
    table = []
    for k in range(pieces):
        low, high = max(k - mpf(1) / 2, mpf(0)), k + mpf(1) / 2

        def f(x):
            return erf(width * x) / x if x else 2 * width / sqrt(pi)

        def towards_one(x, low=low, last=k == pieces - 1):
            return f(x) + (erfc(width * (low + 1)) / (low + 1) * (x - low) ** 2 if last else 0)

        fit = moved(interpolate(towards_one, low, high, degree), (low + high) / 2 - k)
        table.append(checked(f"ratio {pieces} {degree}, piece {k}", fit, f, low, high, bits, k, relative=True))
    end = rounded((pieces - mpf(1) / 2) * mpf("0.9999"))
    last, t = [rounded(c) for c in table[-1]], rounded(end - (pieces - 1))

    def at_end():
        p = last[degree]
        for c in last[degree - 1 :: -1]:
            p = rounded(p * t + c)  # one rounding: fused multiply-add
        return rounded(p * end)

    while at_end() != 1:
        last[0] = rounded(last[0] + (1 - at_end()) / end)
    table[-1] = last
    return end, [[piece[d] for piece in table] for d in range(degree + 1)]


def central_table(pieces, degree, width, in_base_2, bits):
    unit, table = BASE_2 if in_base_2 else mpf(1), []
    for k in range(pieces):

        def f(x):
            return erf(x / unit)

        low, high, name = (k - mpf(1) / 2) * width, (k + mpf(1) / 2) * width, f"central {pieces} {degree}, piece {k}"
        if k == 0:
            ratio = interpolate(lambda x: f(x) / x if x else 2 / sqrt(pi) / unit, mpf(0), high, degree - 1)
            fit = [mpf(0), *moved(ratio, high / 2)]
            table.append(checked(name, fit, f, high / 1000, high, bits, 0, relative=True))
        else:
            fit = interpolate(f, low, high, degree)
            table.append(checked(name, fit, f, low, high, bits, k * width, relative=False))
    return [[piece[d] for piece in table] for d in range(degree + 1)]


def slope_parts(ctype, entries, degree, in_base_2, bits):
    """The table and q, e^-r = 1 + r q(r) up to a factor that the table has."""
    unit = log(2) if in_base_2 else mpf(1)
    half = log(2) / unit / entries / 2

    def f(r):
        return exp(-r * unit)

    name = f"slope {ctype} {entries} {degree}"
    first, *rest = checked(name, interpolate(f, -half, half, degree), f, -half, half, bits, 0, relative=True)
    table = [2 / sqrt(pi) * first * mpf(2) ** (mpf(j) / entries) for j in range(entries)]
    return table, [c / first for c in rest]


def complement(degree, bits, unit, low, end, centre):
    def q(x):
        a = x / unit
        return sqrt(pi) / 2 * exp(a * a) * erfc(a)

    def weight(x):
        return 2 / sqrt(pi) * exp(-((x / unit) ** 2))

    p = best(lambda x: q(x + centre), lambda x: weight(x + centre), low * unit - centre, end * unit - centre, degree)
    points = [unit * (low + (2 * end - low) * k / 4000) for k in range(4001)]
    worst = max(weight(x) * abs(polyval(p[::-1], x - centre) - q(x)) for x in points)
    if worst > mpf(2) ** -bits:
        raise SystemExit(f"complement {degree}: error 2^{float(log(worst, 2)):.2f}, want 2^-{bits}")
    return p


def near_0(degree, join, bits):
    def n(v):
        return (erf(sqrt(v)) / sqrt(v) if v else 2 / sqrt(pi)) - 1

    p = best(n, lambda v: 1 / (1 + n(v)), mpf(0), join**2, degree)
    worst = max(abs((polyval(p[::-1], v) - n(v)) / (1 + n(v))) for v in [join**2 * k / 1000 for k in range(1001)])
    if worst > mpf(2) ** -bits:
        raise SystemExit(f"near 0, {degree}: error 2^{float(log(worst, 2)):.2f}, want 2^-{bits}")
    return p


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
    with workprec(53 if ctype == "double" else 24):
        return float(+mpf(x)).hex() + ("f" if ctype == "float" else "")


def exponent_removed(ctype, x, entry, entries):
    """The bits of x less those that a shifted n adds for its entry, as a number of the type."""
    code, integer, mantissa = ("<d", "<q", 52) if ctype == "double" else ("<f", "<i", 23)
    with workprec(mantissa + 1):
        bits = struct.unpack(integer, struct.pack(code, float(+mpf(x))))[0]
    return mpf(struct.unpack(code, struct.pack(integer, bits - (entry * 2**mantissa // entries)))[0])


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
        "template <int pieces, int degree> struct ErfRatio;",
        "template <int pieces, int degree, bool in_base_2> struct ErfCentral;",
        "template <class Scalar, int entries, int degree, bool in_base_2> struct ErfSlope;",
        "template <class Scalar> struct ErfJoined;",
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
    for pieces, degree, width, bits in RATIO:
        end, table = ratio_table(pieces, degree, width, bits)
        out += [
            "",
            f"template <> struct ErfRatio<{pieces}, {degree}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int pieces = {pieces}, degree = {degree};",
            f"  static constexpr double unit = {literal('double', width)};",
            f"  static constexpr float width = 1, end = {literal('float', end)};",
            "  alignas(64) static constexpr float table[degree + 1][pieces] = {",
        ]
        out += [f"      {{{rows('float', row, 8)}}}," for row in table]
        out += ["  };", "};"]
    for pieces, degree, width, in_base_2, bits in CENTRAL:
        base = "true" if in_base_2 else "false"
        out += [
            "",
            f"template <> struct ErfCentral<{pieces}, {degree}, {base}> {{  // error < 2^-{bits}, near 0 relatively",
            f"  static constexpr int pieces = {pieces}, degree = {degree};",
            f"  static constexpr float width = {literal('float', width)};",
            "  alignas(64) static constexpr float table[degree + 1][pieces] = {",
        ]
        out += [f"      {{{rows('float', row, 8)}}}," for row in central_table(pieces, degree, width, in_base_2, bits)]
        out += ["  };", "};"]
    for ctype, entries, degree, in_base_2, bits in SLOPE:
        table, polynomial = slope_parts(ctype, entries, degree, in_base_2, bits)
        table = [exponent_removed(ctype, x, j, entries) for j, x in enumerate(table)]
        base = "true" if in_base_2 else "false"
        out += [
            "",
            f"template <> struct ErfSlope<{ctype}, {entries}, {degree}, {base}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int entries = {entries};",
            f"  alignas(64) static constexpr {ctype} table[entries] = {{",
            f"       {rows(ctype, table, 4)}}};",
            f"  static constexpr {ctype} polynomial[{degree}] = {{  // q of e^-r = 1 + r q(r)",
            f"       {rows(ctype, polynomial, 4)}}};",
            "};",
        ]
    for ctype, near_degree, far_degree, join, end, bits in JOINED:
        near = near_0(near_degree, join, bits)
        far = complement(far_degree, bits, mpf(1), join, end, 2)
        out += [
            "",
            f"template <> struct ErfJoined<{ctype}> {{  // relative error < 2^-{bits}",
            f"  static constexpr {ctype} join = {literal(ctype, join)}, centre = 2;",
            f"  static constexpr {ctype} near[] = {{\n       {rows(ctype, near, 4)}}};",
            f"  static constexpr {ctype} far[] = {{\n       {rows(ctype, far, 4)}}};",
            "};",
        ]
    degree, bits = COMPLEMENT
    q = complement(degree, bits, BASE_2, mpf(0), mpf(21) / 5, 0)
    out += [
        "",
        f"struct ErfComplement {{  // error of erf < 2^-{bits}",
        f"  static constexpr float polynomial[] = {{\n       {rows('float', q, 4)}}};",
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

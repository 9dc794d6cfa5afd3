"""Computes family_coefficients.h, as coefficients.py does for erf: tanh, and what the other functions are made of.

    python csrc/functions/family_coefficients.py > csrc/functions/family_coefficients.h

Tanh's pieces: a + origin lies in [2^e, 2^(e+1)), cut into equal parts, so pieces grow where tanh flattens. The two
lowest bits of the exponent and the first ones of the mantissa are the number of the piece; t is the distance from its
lower end.
value (float64, float32): tanh(u) = m + m P(a), m = u limited to [-kink, kink]; below the kink P = tanh(a)/a - 1, above
it tanh(a)/kink - 1.
short (16 bits): the same, in a unit of length that makes the last piece end where tanh rounds to 1; the last polynomial
gives exactly 1 there.
near: tanh(u) = u + u N(u^2) up to join, where no table is at hand; from there on 1 - 2 w, w = E/(1 + E), E = exp(-2a).
power: E = e^-r 2^(-n/entries): the slope of erf in coefficients.py without its factor.

exponential: e^-r = 1 - r + r^2 P(r), |r| <= ln(2)/2.
logarithm: log(1 + t) = t + t^2 P(t), 1 + t in [sqrt(1/2), sqrt(2)].
logarithm on pieces: log(m) = log(1 + t) - log(c), t = c m - 1, m in [1, 2), whose first bits are the number of the
piece; c is 1 on the first one, so that nothing is lost near 0, and 1 / centre on the others. log(1 + t) = t + t^2 P(t).
inverse cube root: y (1 + e P(e)), e = 1 - x y^3, of a guess y within 4%.
sine: sin(r) = r + r^3 P(r^2), |r| <= pi/2.
arctangent: 2/pi atan(t) = t P(t^2), |t| <= 1.
arcsinh: asinh(a) = a + a^3 P(a^2), a <= 1/2, or up to where it is 1.
pi: in parts of few bits, so that a whole number times a part is exact.
inverse of pi: its bits, 64 a word, behind a word of zeros.
"""

import pathlib
import sys

from mpmath import asinh, atan, exp, log, mpf, pi, polyval, sin, sinh, sqrt, tanh, workprec

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from coefficients import (  # noqa: E402
    best,
    checked,
    exponent_removed,
    interpolate,
    literal,
    moved,
    rounded,
    rows,
    slope_parts,
)

NEGLIGIBLE = mpf(10) ** -18  # beside 1, and where 60 digits no longer give differences
HEADER = pathlib.Path(__file__).with_name("family_coefficients.h")

# type, pieces, degree, origin, first piece above the kink, bits of accuracy of P
TANH_VALUE = [
    ("double", 16, 14, mpf(3) / 2, 4, 52.5),
    ("float", 16, 5, mpf(5) / 8, 5, 24),
    ("float", 8, 7, mpf(3) / 4, 2, 24.5),
]
# pieces, degree, origin, first piece above the kink, where tanh ends, bits of accuracy of tanh, relative
TANH_SHORT = [
    (16, 3, mpf(5) / 8, 5, mpf("5.6"), 14.8),
    (16, 4, mpf(5) / 8, 5, mpf("6.7"), 18.2),
    (8, 4, mpf(3) / 4, 2, mpf("5.6"), 14.8),
    (8, 5, mpf(3) / 4, 2, mpf("6.7"), 18.2),
]
# name, type, degree, join, bits; a GPU's power of two is less exact, so 1 - 2 w has to wait
TANH_NEAR = [
    ("TanhNear", "float", 5, mpf(5) / 8, 27),
    ("TanhNear", "double", 11, mpf(5) / 8, 55),
    ("TanhNearInThread", "float", 8, mpf(5) / 4, 26.5),
    ("TanhNearInShortThread", "float", 3, mpf(1) / 2, 19),
]
# type, entries, degree of e^-r, in base 2, bits, as SLOPE in coefficients.py
POWER = [
    ("double", 1, 11, False, 55),
    ("float", 16, 2, False, 21),
    ("float", 8, 3, False, 25),
    ("float", 1, 6, False, 27),
    ("float", 16, 2, True, 21),
    ("float", 8, 2, True, 18),
]
# name, type, degree, bits of relative accuracy
ELEMENTARY = [
    ("Exponential", "float", 4, 26),
    ("Exponential", "double", 9, 55.5),
    ("Logarithm", "float", 8, 27.5),
    ("Logarithm", "double", 19, 56.5),
    ("Sine", "float", 3, 27),
    ("Sine", "double", 7, 60),
    ("Arcsinh", "float", 5, 26),
    ("Arcsinh", "double", 12, 54),
    ("ArcsinhToOne", "float", 10, 25),
    ("ArcsinhToOne", "double", 23, 54),
    ("InverseCubeRoot", "float", 4, 25),
    ("Arctangent", "float", 8, 25.9),
    ("Arctangent", "double", 19, 55),
]
# pieces, degree, bits of relative accuracy
LOGARITHM_ON_PIECES = [(16, 3, 27), (8, 4, 26.5)]

# type, bits of a part: whole numbers and halves below 2^12 (2^19) give exact products
PI = [("float", 11), ("double", 33)]


def pi_parts(ctype, bits):
    parts, rest = [], +pi
    for _ in range(3):
        with workprec(bits):
            parts.append(+rest)
        rest -= parts[-1]
    return [*parts, rest]


def arcsinh_near_0(v):
    return (asinh(sqrt(v)) / sqrt(v) - 1) / v if v else -mpf(1) / 6


def elementary(name):
    """f, the whole as a function of x and f(x), and where x lies."""
    half = log(2) / 2 * mpf("1.001")
    return {
        "Exponential": (
            lambda r: (exp(-r) - 1 + r) / r**2 if abs(r) > NEGLIGIBLE else mpf(1) / 2,
            lambda r, p: -r + r * r * p,
            (-half, half),
        ),
        "Logarithm": (
            lambda t: (log(1 + t) - t) / t**2 if abs(t) > NEGLIGIBLE else -mpf(1) / 2,
            lambda t, p: t + t * t * p,
            (sqrt(mpf(1) / 2) - 1, sqrt(mpf(2)) - 1),
        ),
        "Sine": (
            lambda v: (sin(sqrt(v)) / sqrt(v) - 1) / v if v else -mpf(1) / 6,
            lambda v, p: 1 + v * p,
            (mpf(0), (pi / 2) ** 2),
        ),
        "InverseCubeRoot": (
            lambda e: ((1 - e) ** (-mpf(1) / 3) - 1) / e if abs(e) > NEGLIGIBLE else mpf(1) / 3,
            lambda e, p: 1 + e * p,
            (mpf("-0.107"), mpf("0.107")),
        ),
        "Arcsinh": (arcsinh_near_0, lambda v, p: 1 + v * p, (mpf(0), mpf(1) / 4)),
        "ArcsinhToOne": (arcsinh_near_0, lambda v, p: 1 + v * p, (mpf(0), sinh(1) ** 2 * mpf("1.001"))),
        "Arctangent": (
            lambda v: 2 / pi * (atan(sqrt(v)) / sqrt(v) if v else 1),
            lambda v, p: p,
            (mpf(0), mpf(1)),
        ),
    }[name]


def elementary_polynomial(name, degree, bits, ends=None):
    f, whole, (low, high) = elementary(name)
    low, high = ends or (low, high)

    def weight(x):  # how much a change of the polynomial changes the whole, relatively
        if abs(x) < NEGLIGIBLE:
            x = NEGLIGIBLE
        return abs((whole(x, 1) - whole(x, 0)) / whole(x, f(x)))

    p = best(f, weight, low, high, degree)
    points = [low + (high - low) * k / 1000 for k in range(1001)]
    worst = max(weight(x) * abs(polyval(p[::-1], x) - f(x)) for x in points)
    if worst > mpf(2) ** -bits:
        raise SystemExit(f"{name}, {degree}: error 2^{float(log(worst, 2)):.2f}, want 2^-{bits}")
    return p


def logarithm_on_pieces(pieces, degree, bits):
    """c and -log(c) of each piece, and P."""
    c = [mpf(1), *(rounded(2 / (2 + (2 * k + 1) / mpf(pieces))) for k in range(1, pieces))]
    ends = [c[k // 2] * (1 + mpf((k + 1) // 2) / pieces) - 1 for k in range(2 * pieces)]
    return c, [-log(x) for x in c], elementary_polynomial("Logarithm", degree, bits, (min(ends), max(ends)))


def ends_of_pieces(pieces, origin):
    """Of all pieces the lower and upper end and the entry of the table; the first begins at 0."""
    parts, exponent, ends = pieces // 4, 0, []
    while mpf(2) ** exponent > origin:
        exponent -= 1
    part = 0
    while len(ends) < pieces:
        width = mpf(2) ** exponent / parts
        low, high = mpf(2) ** exponent + part * width, mpf(2) ** exponent + (part + 1) * width
        if high > origin:
            entry = (127 + exponent) % 4 * parts + part
            if any(e == entry for *_, e in ends):
                break
            ends.append((max(low, origin) - origin, high - origin, low - origin, entry))
        part = (part + 1) % parts
        exponent += part == 0
    return ends


def tanh_table(name, pieces, degree, origin, first_above, bits, unit, relative):
    ends = ends_of_pieces(pieces, origin)
    kink, table = ends[first_above][0], [[mpf(0)] * (degree + 1)] * pieces
    for k, (low, high, zero, entry) in enumerate(ends):

        def f(a, below=k < first_above):
            if a == 0:
                return unit - 1
            return tanh(unit * a) / (a if below else kink) - 1

        if relative:  # near 0 the unit is far from 1: the whole ratio then
            inner = f

            def f(a, inner=inner):
                return inner(a) + 1

        fit = moved(interpolate(f, low, high, degree), (low + high) / 2 - zero)
        checked(f"{name}, piece {k}", fit, f, low, high, bits, zero, relative)
        table[entry] = fit
    return kink, ends, table


def short_table(pieces, degree, origin, first_above, stop, bits):
    unit = stop / ends_of_pieces(pieces, origin)[-1][1]
    name = f"short {pieces} {degree}"
    kink, ends, table = tanh_table(name, pieces, degree, origin, first_above, bits, unit, relative=True)
    *_, zero, entry = ends[-1]
    end = rounded((ends[-1][1] + origin) * mpf("0.9999")) - origin
    last, t = [rounded(c) for c in table[entry]], rounded(end - zero)

    def at_end():
        p = last[degree]
        for c in last[degree - 1 :: -1]:
            p = rounded(p * t + c)
        return rounded(p * kink)

    # Bent by what is missing, all at the end.
    last[degree] = rounded(last[degree] + (1 / kink - polyval(last[::-1], t)) / t**degree)
    while at_end() != 1:
        last[0] = rounded(last[0] + (1 - at_end()) / kink)
    table[entry] = last
    return unit, kink, end, table


def near_0(degree, join, bits):
    def n(v):
        return (tanh(sqrt(v)) / sqrt(v) if v else 1) - 1

    p = best(n, lambda v: 1 / (1 + n(v)), mpf(0), join**2, degree)
    worst = max(abs((polyval(p[::-1], v) - n(v)) / (1 + n(v))) for v in [join**2 * k / 1000 for k in range(1001)])
    if worst > mpf(2) ** -bits:
        raise SystemExit(f"near 0, {degree}: error 2^{float(log(worst, 2)):.2f}, want 2^-{bits}")
    return p


def table_lines(ctype, table, pieces, degree):
    per_line = 4 if ctype == "double" else 8
    lines = [f"  alignas(64) static constexpr {ctype} table[degree + 1][pieces] = {{"]
    lines += [f"      {{{rows(ctype, [piece[d] for piece in table], per_line)}}}," for d in range(degree + 1)]
    return [*lines, "  };", "};"]


def header():
    out = [
        "// Made by family_coefficients.py, which says what these are; do not edit.",
        "// clang-format off",
        "#pragma once",
        "",
        "namespace derf::coefficients {",
        "template <class Scalar, int pieces, int degree> struct TanhValue;",
        "template <int pieces, int degree> struct TanhShort;",
        "template <class Scalar> struct TanhNear;",
        "template <class Scalar> struct TanhNearInThread;",
        "template <class Scalar> struct TanhNearInShortThread;",
        "template <class Scalar, int entries, bool in_base_2> struct Power;",
        "template <class Scalar> struct Pi;",
        "template <int pieces> struct LogarithmOnPieces;",
        *(f"template <class Scalar> struct {name};" for name in dict.fromkeys(row[0] for row in ELEMENTARY)),
    ]
    for ctype, pieces, degree, origin, first_above, bits in TANH_VALUE:
        name = f"value {ctype} {pieces} {degree}"
        kink, ends, table = tanh_table(name, pieces, degree, origin, first_above, bits, mpf(1), relative=False)
        end = (ends[-1][1] + origin) * mpf("0.9999") - origin
        out += [
            "",
            f"template <> struct TanhValue<{ctype}, {pieces}, {degree}> {{  // |P - exact| < 2^-{bits}",
            f"  static constexpr int pieces = {pieces}, degree = {degree};",
            f"  static constexpr {ctype} origin = {literal(ctype, origin)}, kink = {literal(ctype, kink)};",
            f"  static constexpr {ctype} end = {literal(ctype, end)};",
            *table_lines(ctype, table, pieces, degree),
        ]
    for pieces, degree, origin, first_above, stop, bits in TANH_SHORT:
        unit, kink, end, table = short_table(pieces, degree, origin, first_above, stop, bits)
        out += [
            "",
            f"template <> struct TanhShort<{pieces}, {degree}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int pieces = {pieces}, degree = {degree};",
            f"  static constexpr double unit = {literal('double', unit)};",
            f"  static constexpr float origin = {literal('float', origin)}, kink = {literal('float', kink)};",
            f"  static constexpr float end = {literal('float', end)};",
            *table_lines("float", table, pieces, degree),
        ]
    for name, ctype, degree, join, bits in TANH_NEAR:
        out += [
            "",
            f"template <> struct {name}<{ctype}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int degree = {degree};",
            f"  static constexpr {ctype} join = {literal(ctype, join)};",
            f"  static constexpr {ctype} polynomial[] = {{\n       {rows(ctype, near_0(degree, join, bits), 4)}}};",
            "};",
        ]
    for ctype, entries, degree, in_base_2, bits in POWER:
        table, polynomial = slope_parts(ctype, entries, degree, in_base_2, bits)
        table = [exponent_removed(ctype, x * sqrt(pi) / 2, j, entries) for j, x in enumerate(table)]
        base = "true" if in_base_2 else "false"
        out += [
            "",
            f"template <> struct Power<{ctype}, {entries}, {base}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int entries = {entries};",
            f"  alignas(64) static constexpr {ctype} table[entries] = {{",
            f"       {rows(ctype, table, 4)}}};",
            f"  static constexpr {ctype} polynomial[{degree}] = {{  // q of e^-r = 1 + r q(r)",
            f"       {rows(ctype, polynomial, 4)}}};",
            "};",
        ]
    for name, ctype, degree, bits in ELEMENTARY:
        p = elementary_polynomial(name, degree, bits)
        out += [
            "",
            f"template <> struct {name}<{ctype}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int degree = {degree};",
            f"  static constexpr {ctype} polynomial[] = {{\n       {rows(ctype, p, 4)}}};",
            "};",
        ]
    for pieces, degree, bits in LOGARITHM_ON_PIECES:
        c, logs, p = logarithm_on_pieces(pieces, degree, bits)
        out += [
            "",
            f"template <> struct LogarithmOnPieces<{pieces}> {{  // relative error < 2^-{bits}",
            f"  static constexpr int degree = {degree};",
            f"  alignas(64) static constexpr float c[{pieces}] = {{\n       {rows('float', c, 4)}}};",
            f"  alignas(64) static constexpr float log[{pieces}] = {{\n       {rows('float', logs, 4)}}};",
            f"  static constexpr float polynomial[] = {{\n       {rows('float', p, 4)}}};",
            "};",
        ]
    for ctype, bits in PI:
        out += [
            "",
            f"template <> struct Pi<{ctype}> {{",
            f"  static constexpr {ctype} part[] = {{\n       {rows(ctype, pi_parts(ctype, bits), 4)}}};",
            "};",
        ]
    with workprec(1400):
        words = [f"0x{int(mpf(2) ** (64 * k) / pi) % 2**64:016x}" for k in range(20)]
    lines = ",\n    ".join(", ".join(words[i : i + 5]) for i in range(0, 20, 5))
    out += ["", f"#define DERF_INVERSE_OF_PI \\\n    {lines.replace(chr(10), ' ' + chr(92) + chr(10))}"]
    return "\n".join([*out, "}  // namespace derf::coefficients", ""])


if __name__ == "__main__":
    text = header()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if text == HEADER.read_text() else f"{HEADER} is not what {__file__} computes")
    sys.stdout.write(text)

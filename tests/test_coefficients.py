"""The tables in csrc/functions are what the script beside them computes. The script itself holds each polynomial to its
bound, against 60-digit arithmetic.
"""

import re

import pytest
from coefficient_scripts import FUNCTIONS, script


@pytest.mark.parametrize(
    ("name", "header"), [("coefficients", "erf_coefficients.h"), ("family_coefficients", "family_coefficients.h")]
)
def test_the_header_is_what_the_script_computes(name, header):
    assert script(name).header() == (FUNCTIONS / header).read_text()


def test_a_bound_that_does_not_hold_stops_the_scripts():
    with pytest.raises(SystemExit, match=re.escape("slope float 1 3")):
        script("coefficients").slope_parts("float", 1, 3, False, 22.5)
    family = script("family_coefficients")
    with pytest.raises(SystemExit, match=re.escape("Sine, 3: error 2^-27")):
        family.elementary_polynomial("Sine", 3, 28)
    with pytest.raises(SystemExit, match=re.escape("value float 16 5, piece 7: error 2^-24")):
        family.tanh_table("value float 16 5", 16, 5, family.mpf(5) / 8, 5, 25, family.mpf(1), relative=False)
    with pytest.raises(SystemExit, match=re.escape("near 0, 4: error 2^-2")):
        family.near_0(4, family.mpf(5) / 8, 27)

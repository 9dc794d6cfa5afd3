"""The tables in csrc/functions are what the script beside them computes. The script itself holds each polynomial to its
bound, against 60-digit arithmetic.
"""

import importlib.util
import pathlib
import re

import pytest

FUNCTIONS = pathlib.Path(__file__).parent.parent / "csrc" / "functions"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("coefficients", FUNCTIONS / "coefficients.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_header_is_what_the_script_computes(script):
    assert script.header() == (FUNCTIONS / "erf_coefficients.h").read_text()


def test_a_bound_that_does_not_hold_stops_the_script(script):
    with pytest.raises(SystemExit, match=re.escape("slope float 1 3")):
        script.slope_parts("float", 1, 3, False, 22.5)

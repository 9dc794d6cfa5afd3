"""The scripts that compute the tables of polynomials in csrc/functions, to which test_coefficients.py holds them."""

import importlib.util
import pathlib

FUNCTIONS = pathlib.Path(__file__).parent.parent / "csrc" / "functions"


def script(name):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(name, FUNCTIONS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

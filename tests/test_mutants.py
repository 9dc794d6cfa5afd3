"""The mutants of tests/mutation fit the sources as they are; running them, a quarter of an hour, is a command."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE / "mutation"))
from mutants import MUTANTS  # noqa: E402


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_what_a_mutant_changes_is_there_once(mutant):
    assert (HERE.parent / mutant.file).read_text().count(mutant.original) == 1
    assert mutant.mutated != mutant.original
    for test in mutant.tests.split():
        assert (HERE / test.partition("::")[0]).exists()

"""Where a forward gives a sum to a norm: the forms in which residual connections are written.

====================================================== =============================================
``self.norm(a + b)``                                   as post-norm blocks do
``x = a + b``, then a statement whose first call is    ``y = x`` may stand between
``self.norm(x)``
``if`` and ``else`` that both end with ``x = ...``     as before
``x = a + b``, ``if case: ...; x = c + d``             as before, where a and b are variables
====================================================== =============================================

The calls of a forward stay in their order; only reads of variables and attributes change places with them.
"""

import ast
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .modulation import branch_tests, submodule_call

CALL = "derf_added"
_OUTPUT = "derf_output"
# A sum: in what statements, where, the sum itself, and what is true there.
_End = tuple[list[ast.stmt], int, ast.BinOp, tuple[ast.expr, ...]]


class Addition(ast.NodeTransformer):
    """Writes ``derf_output, x = derf_added(a, b, self.norm)`` for a sum and the norm of it.

    Args:
        self_name: what the forward calls its module.
        names: the submodules that are meant, or None for all.
        gates: submodules that multiply; those around the second summand go into the call.

    Attributes:
        found: the names of those that were found, and for each place the tests of the ifs around it, which are true
            there.
    """

    def __init__(
        self, self_name: str, names: frozenset[str] | None = None, gates: frozenset[str] = frozenset()
    ) -> None:
        self.self_name, self.names, self.gates = self_name, names, gates
        self.found: dict[str, list[tuple[ast.expr, ...]]] = {}
        self._outputs = 0
        self._tests: list[ast.expr] = []

    def visit(self, node: ast.AST) -> Any:
        if not isinstance(node, ast.If):
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(node, field, None)
                if isinstance(statements, list):
                    self._fuse(statements)
        return super().visit(node)

    def visit_If(self, node: ast.If) -> ast.If:
        node.test = self.visit(node.test)
        for field, test in branch_tests(node):
            with self._where(test):
                self._fuse(getattr(node, field))
                setattr(node, field, [self.visit(statement) for statement in getattr(node, field)])
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        norm, argument = submodule_call(node, self.self_name, self.names) or (None, None)
        if norm and isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Add):
            node = _popped(ast.Subscript(self._call(argument, norm), ast.Constant(0), ast.Load()))
        return self.generic_visit(node)

    @contextmanager
    def _where(self, *tests: ast.expr) -> Iterator[None]:
        self._tests += tests
        yield
        del self._tests[len(self._tests) - len(tests) :]

    def _call(self, addition: ast.BinOp, norm: ast.Attribute) -> ast.Call:
        self.found.setdefault(norm.attr, []).append(tuple(map(copy.deepcopy, self._tests)))
        summand = addition.right
        gates: list[ast.expr] = []
        while found := submodule_call(summand, self.self_name, self.gates):
            gate, summand = found
            gates.insert(0, gate)
        return ast.Call(ast.Name(CALL, ast.Load()), [addition.left, summand, copy.deepcopy(norm), *gates], [])

    def _fuse(self, statements: list[ast.stmt]) -> None:
        at = 0
        while at < len(statements):
            self._sink(statements, at)
            variable, ends = _sums(statements, at)
            norm = None if variable is None else self._norm_of(variable, statements, at + 1)
            if variable is not None and norm is not None:
                self._join(variable, ends, *norm)
            at += 1

    def _sink(self, statements: list[ast.stmt], at: int) -> None:
        """Move a sum of variables into both branches of the if behind it, where that ends with another one."""
        case = statements[at + 1] if at + 1 < len(statements) else None
        variable, addition = _summed(statements[at])
        if variable is None or not isinstance(case, ast.If) or case.orelse or not _is_of_names(case.test, variable):
            return
        if addition is None or not isinstance(addition.left, ast.Name) or not isinstance(addition.right, ast.Name):
            return
        moved = ast.If(case.test, [statements[at], *case.body], [copy.deepcopy(statements[at])])
        if _sums([moved], 0)[0] == variable and self._norm_of(variable, statements, at + 2) is not None:
            statements[at : at + 2] = [moved]

    def _norm_of(
        self, variable: str, statements: list[ast.stmt], at: int
    ) -> tuple[ast.stmt, ast.Call, ast.Attribute] | None:
        """The statement whose first call is of a norm of the variable, which has its value from before; the call, and
        the norm."""
        while at < len(statements) and _is_copy(statements[at], variable):
            at += 1
        value = getattr(statements[at], "value", None) if at < len(statements) else None
        if value is None or not isinstance(statements[at], (ast.Assign, ast.AnnAssign, ast.Return, ast.Expr)):
            return None
        call = _first_call(value)
        found = submodule_call(call, self.self_name, self.names) if call else None
        if call is None or found is None:
            return None
        norm, argument = found
        return (statements[at], call, norm) if isinstance(argument, ast.Name) and argument.id == variable else None

    def _join(self, variable: str, ends: list[_End], statement: ast.stmt, call: ast.Call, norm: ast.Attribute) -> None:
        output = f"{_OUTPUT}_{self._outputs}"
        self._outputs += 1
        for statements, at, addition, tests in ends:
            targets = ast.Tuple([ast.Name(name, ast.Store()) for name in (output, variable)], ast.Store())
            with self._where(*tests):
                statements[at] = ast.Assign([targets], self._call(addition, norm), lineno=0)
        _Exchange(call, _popped(ast.Name(output, ast.Load()))).visit(statement)


class _Exchange(ast.NodeTransformer):
    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else super().visit(node)


def _popped(node: ast.expr) -> ast.Call:
    """The output is in a list that is emptied, so that no variable keeps it longer than the forward did before."""
    return ast.Call(ast.Attribute(node, "pop", ast.Load()), [], [])


def _summed(statement: ast.stmt) -> tuple[str, ast.BinOp] | tuple[None, None]:
    """The variable to which a statement gives a sum, and the sum."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None, None
    target, value = statement.targets[0], statement.value
    if isinstance(target, ast.Name) and isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return target.id, value
    return None, None


def _sums(statements: list[ast.stmt], at: int, *tests: ast.expr) -> tuple[str | None, list[_End]]:
    """The variable to which a statement gives a sum at its ends, and the ends: its own, or those of both branches."""
    statement = statements[at]
    variable, addition = _summed(statement)
    if addition is not None:
        return variable, [(statements, at, addition, tests)]
    if not isinstance(statement, ast.If) or not statement.orelse:
        return None, []
    variables, ends = set(), []
    for field, test in branch_tests(statement):
        body = getattr(statement, field)
        variable, found = _sums(body, len(body) - 1, *tests, test)
        variables.add(variable)
        ends += found
    return (variable, ends) if len(variables) == 1 and variable is not None else (None, [])


def _is_copy(statement: ast.stmt, variable: str) -> bool:
    """Whether it gives a variable's value to another one than this."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Name):
        return False
    return all(isinstance(target, ast.Name) and target.id != variable for target in statement.targets)


def _is_of_names(test: ast.expr, variable: str) -> bool:
    """Whether a test reads names and attributes alone, and not the variable."""
    kinds: tuple[type[ast.AST], ...] = (ast.Name, ast.Attribute, ast.Constant, ast.expr_context)
    kinds += (ast.BoolOp, ast.boolop, ast.Not, ast.UnaryOp, ast.Compare, ast.Is, ast.IsNot)
    return all(
        isinstance(part, kinds) and not (isinstance(part, ast.Name) and part.id == variable) for part in ast.walk(test)
    )


def _first_call(node: ast.expr) -> ast.Call | None:
    """The call that is evaluated first, where nothing but reads of names and attributes comes before it."""
    if isinstance(node, ast.Call):
        parts = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, ast.BinOp):
        parts = [node.left, node.right]
    elif isinstance(node, ast.Tuple):
        parts = node.elts
    elif isinstance(node, ast.Attribute):
        parts = [node.value]
    else:
        return None
    for part in parts:
        if not _is_read(part):
            return _first_call(part)
    return node if isinstance(node, ast.Call) else None


def _is_read(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, (ast.Name, ast.Constant))

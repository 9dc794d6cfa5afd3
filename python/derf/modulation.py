"""Where a forward modulates the output of a norm: the forms in which libraries write it.

====================================================== =============================================
``self.norm(x) * (1 + scale) + shift``                 also ``(1 + scale)[:, None]``, without shift,
                                                       factors and summands in any order
``h = self.norm(x)``, then ``h = h * (1 + scale) + shift`` or ``if case: h = h * (1 + scale) + shift``
a chain of ``if`` one of whose branches ends with the former, and behind it the latter
``modulate(self.norm(x), shift, scale)``               a function that returns one of these expressions
====================================================== =============================================
"""

import ast
import copy
import inspect
import textwrap
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CALL = "derf_modulated"
_DONE = "derf_is_modulated"
# Calls of tensors' methods that may change places with other expressions: they draw no random numbers.
_PURE = {"unsqueeze", "squeeze", "to", "type_as", "float", "view", "reshape"}

Submodule = tuple[ast.Attribute, ast.expr]  # a submodule that is called, and with what


@dataclass
class _Modulation:
    """What is modulated, and by what."""

    target: ast.expr
    scale: ast.expr | None = None
    shift: ast.expr | None = None


class Fusion(ast.NodeTransformer):
    """Writes ``derf_modulated(self.norm, x, scale, shift)`` for each modulation of the output of a submodule.

    Args:
        self_name: what the forward calls its module.
        globals: the forward's, where functions such as ``modulate`` are.
        names: the submodules that are meant, or None for all.

    Attributes:
        found: the names of those that were found, and for each place the tests of the ifs around it, which are true
            there.
    """

    def __init__(self, self_name: str, globals: dict[str, Any], names: frozenset[str] | None = None) -> None:
        self.self_name, self.globals, self.names = self_name, globals, names
        self.found: dict[str, list[tuple[ast.expr, ...]]] = {}
        self.flags = 0
        self._tests: list[ast.expr] = []

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.If):
            return self._visit_if(node)
        node = super().visit(node)
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, list(self._fused(statements)))
        return node

    def _visit_if(self, node: ast.If) -> ast.If:
        node.test = self.visit(node.test)
        for field, test in branch_tests(node):
            with self._where(test):
                statements = [self.visit(statement) for statement in getattr(node, field)]
                setattr(node, field, list(self._fused(statements)))
        return node

    @contextmanager
    def _where(self, *tests: ast.expr) -> Iterator[None]:
        """While this lasts, calls are found where the tests are true."""
        self._tests += tests
        yield
        del self._tests[len(self._tests) - len(tests) :]

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr):
            modulation = self._modulation(node)
            norm = submodule_call(modulation.target, self.self_name, self.names) if modulation else None
            if modulation and norm:
                return super().generic_visit(self._call(norm, modulation))
        return super().generic_visit(node)

    def _call(self, norm: Submodule, modulation: _Modulation) -> ast.Call:
        function, argument = norm
        self.found.setdefault(function.attr, []).append(tuple(map(copy.deepcopy, self._tests)))
        parts = (part or ast.Constant(None) for part in (modulation.scale, modulation.shift))
        return ast.Call(ast.Name(CALL, ast.Load()), [function, argument, *parts], [])

    # Expressions

    def _modulation(self, node: ast.expr) -> _Modulation | None:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            for product, shift in ((node.left, node.right), (node.right, node.left)):
                found = self._modulation(product)
                swapped = product is node.right
                if found and found.shift is None and (not swapped or _pure(shift)):
                    return _Modulation(found.target, found.scale, shift)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            for target, factor in ((node.left, node.right), (node.right, node.left)):
                scale = _from_one(factor)
                if scale is not None and (target is node.left or _pure(scale)):
                    return _Modulation(target, scale)
        return self._inlined(node) if isinstance(node, ast.Call) else None

    def _inlined(self, node: ast.Call) -> _Modulation | None:
        """The modulation that a global function of the module computes of the call's arguments."""
        function = self.globals.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if not isinstance(function, types.FunctionType) or function.__closure__ or function.__defaults__:
            return None
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
            bound = inspect.signature(function).bind(*node.args, **{k.arg or "": k.value for k in node.keywords})
        except Exception:  # no source, or not called like this
            return None
        if not isinstance(tree, ast.FunctionDef):
            return None
        body = [s for s in tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        if len(body) != 1 or not isinstance(body[0], ast.Return) or tree.decorator_list:
            return None
        returned = body[0].value
        found = None if returned is None else Fusion(self.self_name, {})._modulation(returned)
        if found is None or not isinstance(found.target, ast.Name) or found.target.id not in bound.arguments:
            return None
        parts = [part for part in (found.scale, found.shift) if part is not None]
        used = [n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)]
        arguments = bound.arguments
        if sorted([*used, found.target.id]) != sorted(arguments) or not all(
            isinstance(value, ast.expr) and (name == found.target.id or _pure(value))
            for name, value in arguments.items()
        ):
            return None
        substituted = [
            part and _Substitution(arguments).visit(copy.deepcopy(part)) for part in (found.scale, found.shift)
        ]
        return _Modulation(arguments[found.target.id], *substituted)

    # Statements

    def _fused(self, statements: list[ast.stmt]) -> Iterator[ast.stmt]:
        """The statements, with each modulation of a variable moved to where the norm gave it its value."""
        before: ast.stmt | None = None
        for statement in statements:
            fused = None if before is None else self._moved(before, statement)
            if fused is None:
                if before is not None:
                    yield before
                before = statement
            else:
                *first, before = fused
                yield from first
        if before is not None:
            yield before

    def _moved(self, before: ast.stmt, behind: ast.stmt) -> list[ast.stmt] | None:
        """The two statements with the second one's modulation in the first, or None where it has none to move."""
        case: ast.expr | None = None
        inner = behind
        if isinstance(behind, ast.If) and not behind.orelse and len(behind.body) == 1 and _pure(behind.test):
            case, inner = behind.test, behind.body[0]
        variable, value = _assigned(inner)
        modulation = None if value is None else self._modulation(value)
        if variable is None or modulation is None or not _is_name(modulation.target, variable):
            return None
        parts = [part for part in (modulation.scale, modulation.shift, case) if part is not None]
        if any(_reads(part, variable) for part in map(_without_devices, parts)):
            return None
        own = any(_reads(part, variable) for part in parts)  # h.device, that of a norm's input as well

        def norm_of(statement: ast.stmt) -> Submodule | None:
            name, value = _assigned(statement)
            norm = submodule_call(value, self.self_name, self.names) if value and name == variable else None
            return norm if norm and (_is_name(norm[1], variable) or not own) else None

        def together(statement: ast.stmt, norm: Submodule, done: list[ast.stmt]) -> list[ast.stmt]:
            with self._where(*([] if case is None else [case])):
                target = ast.Name(variable, ast.Store())
                fused = ast.Assign([target], self._call(norm, modulation), lineno=0)
            return [fused, *done] if case is None else [ast.If(case, [fused, *done], [statement])]

        norm = norm_of(before)
        if norm:
            return together(before, norm, [])
        if not isinstance(before, ast.If):
            return None
        flag = f"{_DONE}_{self.flags}"
        moved = copy.deepcopy(before)
        ends = [(body, tests, norm) for body, tests in _branches(moved) if (norm := norm_of(body[-1]))]
        if not ends:
            return None
        self.flags += 1
        for body, tests, norm in ends:
            with self._where(*tests):
                body[-1:] = together(body[-1], norm, [_set(flag, True)])
        rest = ast.UnaryOp(ast.Not(), ast.Name(flag, ast.Load()))
        test = rest if case is None else ast.BoolOp(ast.And(), [rest, case])
        return [_set(flag, False), moved, ast.If(test, [inner], [])]


class _Substitution(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node)


def _reads(node: ast.expr, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))


def _without_devices(node: ast.expr) -> ast.expr:
    """The expression with None for each ``variable.device``."""

    class Devices(ast.NodeTransformer):
        def visit_Attribute(self, part: ast.Attribute) -> ast.AST:
            plain = part.attr == "device" and isinstance(part.value, ast.Name)
            return ast.Constant(None) if plain else self.generic_visit(part)

    return Devices().visit(copy.deepcopy(node))


def _from_one(node: ast.expr) -> ast.expr | None:
    """scale of an expression 1 + scale, which may be indexed or unsqueezed."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for one, scale in ((node.left, node.right), (node.right, node.left)):
            if isinstance(one, ast.Constant) and type(one.value) in (int, float) and one.value == 1:
                return scale
    if isinstance(node, ast.Subscript):
        inner = _from_one(node.value)
        return None if inner is None else ast.Subscript(inner, node.slice, ast.Load())
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "unsqueeze":
        inner = _from_one(node.func.value)
        return (
            None if inner is None else ast.Call(ast.Attribute(inner, "unsqueeze", ast.Load()), node.args, node.keywords)
        )
    return None


def _pure(node: ast.expr) -> bool:
    """Whether evaluating it changes nothing and draws no random numbers."""
    for part in ast.walk(node):
        if isinstance(part, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)):
            return False
        if isinstance(part, ast.Call) and not (isinstance(part.func, ast.Attribute) and part.func.attr in _PURE):
            return False
    return True


def _assigned(statement: ast.stmt) -> tuple[str, ast.expr] | tuple[None, None]:
    """The variable that a statement gives a value to, where it is a plain one, and the value."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None, None
    target = statement.targets[0]
    return (target.id, statement.value) if isinstance(target, ast.Name) else (None, None)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def submodule_call(node: ast.AST, self_name: str, names: frozenset[str] | None) -> Submodule | None:
    """The submodule that an expression calls with one argument, and the argument; of these names, or of any."""
    if not isinstance(node, ast.Call) or node.keywords or len(node.args) != 1 or isinstance(node.args[0], ast.Starred):
        return None
    function = node.func
    if not isinstance(function, ast.Attribute) or not _is_name(function.value, self_name):
        return None
    return (function, node.args[0]) if names is None or function.attr in names else None


def branch_tests(statement: ast.If) -> Iterator[tuple[str, ast.expr]]:
    """The two bodies of an if, and what is true there."""
    yield "body", statement.test
    yield "orelse", ast.UnaryOp(ast.Not(), statement.test)


def _branches(statement: ast.If, *tests: ast.expr) -> Iterator[tuple[list[ast.stmt], tuple[ast.expr, ...]]]:
    """The bodies of a chain of ifs, those of ifs at their ends included, with the tests that are true there."""
    for name, test in branch_tests(statement):
        body = getattr(statement, name)
        if body and isinstance(body[-1], ast.If):
            yield from _branches(body[-1], *tests, test)
        elif body:
            yield body, (*tests, test)


def reachable(places: list[tuple[ast.expr, ...]], self_name: str, module: Any) -> bool:
    """Whether a module comes to one of the places, for all that its attributes say."""
    return not all(any(_is_false(test, self_name, module) for test in tests) for tests in places)


def _is_false(test: ast.expr, self_name: str, module: Any) -> bool:
    """Whether a test is false for this module in every call: it depends on nothing but the module's attributes."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(_is_false(part, self_name, module) for part in test.values)
    for part in ast.walk(test):
        if isinstance(part, ast.Call) or (isinstance(part, ast.Name) and part.id != self_name):
            return False
        if isinstance(part, ast.Attribute) and part.attr == "training":  # train() and eval() change it
            return False
    try:
        expression = ast.fix_missing_locations(ast.Expression(copy.deepcopy(test)))
        return not eval(compile(expression, "<test>", "eval"), {self_name: module})
    except Exception:  # a tensor that is no truth value, say
        return False


def _set(name: str, value: bool) -> ast.Assign:
    return ast.Assign([ast.Name(name, ast.Store())], ast.Constant(value), lineno=0)

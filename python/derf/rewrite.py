"""The forward of an adaLN block, with the modulation behind a norm inside the norm's call.

adaLN models compute ``norm(x) * (1 + scale) + shift`` in the forward of some module around the norm, each library in
classes of its own. That expression is found in the source (modulation.py) and becomes ``derf_modulated(norm, x, scale,
shift)``, which means the same by definition. A forward is touched only where its source, compiled again, is the very
bytecode that runs. The new one belongs to a subclass with the old name, so that code that goes by names, state dicts
and pickles stay what they were.
"""

import __future__

import ast
import copy
import functools
import inspect
import linecache
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from .modulated import modulated
from .modulation import CALL, Fusion, reachable

_MARK = "_derf_original"
_ANNOTATIONS = __future__.annotations.compiler_flag


def modulated_norms(module: nn.Module) -> frozenset[str]:
    """Names of submodules whose output the module's forward modulates in a form that can be rewritten."""
    if "forward" in module.__dict__:  # accelerate's hooks, say: the class's forward is not what runs
        return frozenset()
    self_name, found = _found(original_class(type(module)))
    return frozenset(name for name, places in found.items() if reachable(places, self_name, module))


@functools.cache
def _found(cls: type[nn.Module]) -> tuple[str, dict[str, list[tuple[ast.expr, ...]]]]:
    source = _source(cls)
    if source is None:
        return "", {}
    function, tree = source
    fusion = Fusion(tree.args.args[0].arg, function.__globals__)
    fusion.visit(tree)
    return fusion.self_name, fusion.found


def modulated_class(cls: type[nn.Module], names: frozenset[str]) -> type[nn.Module]:
    """The subclass of cls whose forward hands scale and shift to these submodules, or cls where none can be made."""
    if _MARK in cls.__dict__:  # some of its norms were replaced before
        cls, earlier = cls.__dict__[_MARK]
        names |= earlier
    return _class(cls, names)


@functools.cache
def _class(cls: type[nn.Module], names: frozenset[str]) -> type[nn.Module]:
    found = _source(cls)
    if found is None or not names <= _found(cls)[1].keys():
        return cls
    function, tree = found
    Fusion(tree.args.args[0].arg, function.__globals__, names).visit(tree)
    members = {
        "forward": _decorated(tree, function, _compiled(function, tree)),
        "__reduce_ex__": _reduce_ex,
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        _MARK: (cls, names),
    }
    new = type(cls)(cls.__name__, (cls,), members)
    new.__qualname__ = cls.__qualname__
    return new


def original_class(cls: type) -> type:
    """The class whose forward was rewritten in cls; cls itself where none was."""
    return cls.__dict__[_MARK][0] if _MARK in cls.__dict__ else cls


def _reduce_ex(self: nn.Module, protocol: int) -> tuple[Any, ...]:
    own = next(cls for cls in type(self).__mro__ if _MARK in cls.__dict__)
    parts = super(own, self).__reduce_ex__(protocol)
    return (_rebuilt, own.__dict__[_MARK], *parts[2:]) if own is type(self) else parts


def _rebuilt(cls: type[nn.Module], names: frozenset[str]) -> nn.Module:
    """What copies and pickles start from; a plain cls, which computes the same, where cls has changed meanwhile."""
    new = modulated_class(cls, names)
    return new.__new__(new)


def _source(cls: type[nn.Module]) -> tuple[types.FunctionType, ast.FunctionDef] | None:
    """The innermost function of the forward of cls, and its source where that is certainly what runs."""
    function = inspect.unwrap(cls.forward)
    try:
        code = function.__code__
        tree, codes = _file("".join(inspect.findsource(function)[0]), code.co_flags & _ANNOTATIONS)
        definition = next(
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            and node.name == code.co_name
            and (node.decorator_list or [node])[0].lineno == code.co_firstlineno
        )
        decorated = _decorated(definition, function, function)
    except Exception:  # no source, no function, a decorator that needs more than there is here
        return None
    there = codes.get((code.co_name, code.co_firstlineno))
    if there is None or _facts(there) != _facts(code) or not definition.args.args:
        return None
    if any(name.startswith("__") and not name.endswith("__") for name in _read(definition)):
        return None  # private to the class: outside of it the name means another
    wrapped = function is not cls.forward
    if wrapped != bool(definition.decorator_list) or decorated.__code__ is not cls.forward.__code__:
        return None
    return function, copy.deepcopy(definition)


def _read(definition: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(definition):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield node.id if isinstance(node, ast.Name) else node.attr


@functools.lru_cache(maxsize=64)
def _file(source: str, flags: int) -> tuple[ast.Module, dict[tuple[str, int], types.CodeType]]:
    """A file's syntax, and its functions as they are compiled, by name and first line."""
    tree = ast.parse(source)
    found, codes = [compile(tree, "", "exec", flags=flags, dont_inherit=True)], {}
    while found:
        code = found.pop()
        codes[code.co_name, code.co_firstlineno] = code
        found += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return tree, codes


def _facts(code: types.CodeType) -> tuple[Any, ...]:
    """What a function does, without the places in its source."""
    constants = [_facts(c) if isinstance(c, types.CodeType) else (type(c), c) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, names, constants, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount


def _compiled(function: types.FunctionType, tree: ast.FunctionDef) -> types.FunctionType:
    """A function of the rewritten definition, with the globals, free variables and defaults of the old one."""
    bare = copy.copy(tree)
    bare.decorator_list = []
    around = ast.parse(f"def around({', '.join((*function.__code__.co_freevars, CALL))}): pass").body[0]
    around.body = [bare]
    text = ast.unparse(ast.fix_missing_locations(ast.Module([around], [])))
    filename = f"<{function.__module__}.{function.__qualname__}, rewritten by derf>"
    linecache.cache[filename] = len(text), None, text.splitlines(keepends=True), filename  # for tracebacks
    flags = function.__code__.co_flags & _ANNOTATIONS
    code = compile(text, filename, "exec", flags=flags, dont_inherit=True)
    for name in ("around", tree.name):
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells[CALL] = types.CellType(modulated)
    closure = tuple(cells[name] for name in code.co_freevars)
    new = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    functools.update_wrapper(new, function)
    new.__kwdefaults__ = function.__kwdefaults__
    del new.__wrapped__
    return new


def _decorated(tree: ast.FunctionDef, function: types.FunctionType, new: Callable[..., Any]) -> Callable[..., Any]:
    """The function new under the decorators that the definition has."""
    for decorator in reversed(tree.decorator_list):
        new = eval(compile(ast.Expression(decorator), "<decorator>", "eval"), function.__globals__)(new)
    return new

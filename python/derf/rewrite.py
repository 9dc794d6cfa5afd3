"""Forwards of other libraries' modules, with what stands around a norm inside the norm's call.

adaLN models compute ``norm(x) * (1 + scale) + shift`` in the forward of some module around the norm, residual blocks
``norm(a + b)`` and go on with the sum, each library in classes of its own. These expressions are found in the source
(modulation.py, addition.py) and become ``derf_modulated(norm, x, scale, shift)`` and ``derf_added(a, b, norm)``, which
mean the same by definition. A forward is touched only where its source, compiled again, is the very bytecode that runs.
The new one belongs to a subclass with the old name, so that code that goes by names, state dicts and pickles stay what
they were.
"""

import __future__

import ast
import copy
import functools
import inspect
import linecache
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import nn

from . import addition, modulation
from .addition import Addition
from .fused import added
from .modulated import modulated
from .modulation import Fusion, reachable

_CALLS = {modulation.CALL: modulated, addition.CALL: added}
_MARK = "_derf_rewriting"
_ANNOTATIONS = __future__.annotations.compiler_flag


Names = frozenset[str]
_Places = dict[str, list[tuple[ast.expr, ...]]]


class Rewriting(NamedTuple):
    """A class, and the submodules for which its forward is written anew."""

    cls: type[nn.Module]
    modulated: Names = frozenset()
    added: Names = frozenset()
    gates: Names = frozenset()  # those that multiply what is added


def rewriting_of(cls: type[nn.Module]) -> Rewriting:
    """What was rewritten in the class; nothing in cls itself where it is not one of ours."""
    return cls.__dict__.get(_MARK) or Rewriting(cls)


def original_class(cls: type) -> type:
    """The class whose forward was rewritten in cls; cls itself where none was."""
    return rewriting_of(cls).cls


def rewritten_class(cls: type[nn.Module], **names: Any) -> type[nn.Module]:
    """The class with these names in its :class:`Rewriting`, or the original class where none can be made."""
    return _class(rewriting_of(cls)._replace(**names))


def modulated_norms(module: nn.Module) -> Names:
    """Names of submodules whose output the module's forward modulates in a form that can be rewritten."""
    return _reached(module, 0)


def added_norms(module: nn.Module) -> Names:
    """Names of submodules to which the module's forward gives a sum in a form that can be rewritten."""
    return _reached(module, 1)


def is_rewritable(module: nn.Module) -> bool:
    """Whether the forward of a module is known from its source."""
    return "forward" not in module.__dict__ and _source(original_class(type(module))) is not None


def _reached(module: nn.Module, kind: int) -> Names:
    if "forward" in module.__dict__:  # accelerate's hooks, say: the class's forward is not what runs
        return frozenset()
    self_name, *found = _found(original_class(type(module)))
    return frozenset(name for name, places in found[kind].items() if reachable(places, self_name, module))


@functools.cache
def _found(cls: Any) -> tuple[str, _Places, _Places]:
    source = _source(cls)
    if source is None:
        return "", {}, {}
    function, tree = source
    fusion = Fusion(tree.args.args[0].arg, function.__globals__)
    fusion.visit(copy.deepcopy(tree))
    sums = Addition(fusion.self_name)
    sums.visit(tree)
    return fusion.self_name, fusion.found, sums.found


@functools.cache
def _class(rewriting: Rewriting) -> type[nn.Module]:
    cls, modulated_names, added_names, gates = rewriting
    source = _source(cls)
    if source is None or not (modulated_names or added_names):
        return cls
    original: Any = cls
    _, can_be_modulated, can_be_added = _found(original)
    if not (modulated_names <= can_be_modulated.keys() and added_names <= can_be_added.keys()):
        return cls
    function, tree = source
    self_name = tree.args.args[0].arg
    Fusion(self_name, function.__globals__, modulated_names).visit(tree)
    Addition(self_name, added_names, gates).visit(tree)
    members = {
        "forward": _decorated(tree, function, _compiled(function, tree, rewriting)),
        "__reduce_ex__": _reduce_ex,
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        _MARK: rewriting,
    }
    metaclass: Any = type(cls)
    new = metaclass(cls.__name__, (cls,), members)
    new.__qualname__ = cls.__qualname__
    return new


def _reduce_ex(self: nn.Module, protocol: int) -> tuple[Any, ...]:
    own: Any = next(cls for cls in type(self).__mro__ if _MARK in cls.__dict__)
    parts = super(own, self).__reduce_ex__(protocol)
    return (_rebuilt, tuple(own.__dict__[_MARK]), *parts[2:]) if own is type(self) else parts


def _rebuilt(*rewriting: Any) -> nn.Module:
    """What copies and pickles start from; a plain cls, which computes the same, where cls has changed meanwhile."""
    new = _class(Rewriting(*rewriting))
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
            and min([node.lineno, *(d.lineno for d in node.decorator_list)]) == code.co_firstlineno
        )
        decorated = _decorated(definition, function, function)
    except Exception:  # no source, no function, a decorator that needs more than there is here
        return None
    there = codes.get((code.co_name, code.co_firstlineno))
    if there is None or _facts(there) != _facts(code) or not definition.args.args:
        return None
    if any(name.startswith("__") and not name.endswith("__") for name in _read(definition)):
        return None  # private to the class: outside of it the name means another
    if _codes(decorated) != _codes(cls.forward) and not _is_wrapped_by_class(cls, decorated):
        return None
    return function, copy.deepcopy(definition)


def _codes(function: Callable[..., Any]) -> list[types.CodeType]:
    """What runs when a function is called: that of its decorators, the outermost first, and its own."""
    codes = [function.__code__]
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
        codes.append(function.__code__)
    return codes


def _is_wrapped_by_class(cls: type[nn.Module], forward: Callable[..., Any]) -> bool:
    """Whether every subclass gets what is around the forward of cls, as by the ``__init_subclass__`` of Transformers'
    GradientCheckpointingLayer."""
    try:
        metaclass: Any = type(cls)
        probe = metaclass(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
        return _codes(probe.forward) == _codes(cls.forward)
    except Exception:  # a class that cannot have subclasses like this
        return False


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


def _compiled(function: types.FunctionType, tree: ast.FunctionDef, rewriting: Rewriting) -> types.FunctionType:
    """A function of the rewritten definition, with the globals, free variables and defaults of the old one."""
    bare = copy.copy(tree)
    bare.decorator_list = []
    around: Any = ast.parse(f"def around({', '.join((*function.__code__.co_freevars, *_CALLS))}): pass").body[0]
    around.body = [bare]
    text = ast.unparse(ast.fix_missing_locations(ast.Module([around], [])))
    names = ", ".join(name for part in rewriting[1:] for name in sorted(part))
    filename = f"<{function.__module__}.{function.__qualname__}, rewritten by derf for {names}>"
    linecache.cache[filename] = len(text), None, text.splitlines(keepends=True), filename  # for tracebacks
    flags = function.__code__.co_flags & _ANNOTATIONS
    code = compile(text, filename, "exec", flags=flags, dont_inherit=True)
    for name in ("around", tree.name):
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells |= {name: types.CellType(call) for name, call in _CALLS.items()}
    closure = tuple(cells[name] for name in code.co_freevars)
    new: Any = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    functools.update_wrapper(new, function)
    new.__kwdefaults__ = function.__kwdefaults__
    del new.__wrapped__
    return new


def _decorated(tree: ast.FunctionDef, function: types.FunctionType, new: Callable[..., Any]) -> Callable[..., Any]:
    """The function new under the decorators that the definition has."""
    for decorator in reversed(tree.decorator_list):
        new = eval(compile(ast.Expression(decorator), "<decorator>", "eval"), function.__globals__)(new)
    return new

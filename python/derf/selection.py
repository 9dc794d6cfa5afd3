"""Which modules of a model an option means, and which number it gives each."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from .modules import checked_start

Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]
Start = float | Mapping[str, float] | Callable[[str], float]

# Norms of queries and keys before attention. They bound what the softmax sees, and the paper's models have none.
QUERY_KEY_NORMS = (
    *("q_norm", "k_norm", "qk_norm", "norm_q", "norm_k", "norm_added_q", "norm_added_k", "norm_query", "norm_key"),
    *("q_layernorm", "k_layernorm", "query_layernorm", "key_layernorm", "q_layer_norm", "k_layer_norm", "ln_q", "ln_k"),
)


def selectors(value: Selector | Sequence[Selector] | None, argument: str) -> tuple[Selector, ...] | None:
    """The value of include or exclude as a tuple, once it is seen to be one of selectors."""
    if value is None:
        return None
    chosen = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    for each in chosen:
        is_class = isinstance(each, type) and issubclass(each, nn.Module)
        if not is_class and not isinstance(each, str) and (isinstance(each, type) or not callable(each)):
            raise TypeError(
                f"derf: {argument} must hold patterns of names, classes of modules or functions of name and module, "
                f"but has {each!r}"
            )
    return chosen


def selected(by: Selector, names: Sequence[str], module: nn.Module) -> bool:
    """Whether a selector means a module that has these names."""
    if isinstance(by, str):
        return any(fnmatch.fnmatchcase(name, by) for name in names)
    if isinstance(by, type):
        return isinstance(module, by)
    return bool(by(names[0], module))


def starts(value: Start, names: Sequence[str], argument: str) -> dict[str, float]:
    """The number that alpha or shift starts at, for each qualified name."""
    if isinstance(value, Mapping):
        given = {name: next((key for key in value if fnmatch.fnmatchcase(name, key)), None) for name in names}
        without = [name for name, key in given.items() if key is None]
        if without:
            raise ValueError(
                f"derf: {argument} must have a number for each layer that is replaced, but none of its keys "
                f"{list(value)} matches {without[0]!r}"
            )
        unused = [key for key in value if not any(fnmatch.fnmatchcase(name, key) for name in names)]
        if unused:
            raise ValueError(f"derf: {argument} has the key {unused[0]!r}, which matches no layer that is replaced")
        return {name: checked_start(value[key], argument) for name, key in given.items()}
    if callable(value):
        return {name: checked_start(value(name), argument) for name in names}
    number = checked_start(value, argument)
    return dict.fromkeys(names, number)

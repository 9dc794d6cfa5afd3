"""Bad input raises before any work: a message that names the argument, what came and what was expected.

Every case runs through the operator and through derf.functional, on CPU and meta tensors, with and without autograd,
under inference_mode, and through the backward operator: checks live where none of these goes round them.
"""

import re

import derf
import pytest
import torch

FORWARD, BACKWARD = torch.ops.derf.derf, torch.ops.derf.derf_backward
NAMES = ("input", "alpha", "shift", "weight", "bias", "channel_dim")
F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
ANY_FLOAT = r"float64|double|floating"


def good(**changes):
    """Arguments of a correct call on [2, 3, 4] float32, with changes."""
    arguments = {
        "input": torch.ones(2, 3, 4),
        "alpha": torch.ones(1),
        "shift": torch.zeros(1),
        "weight": torch.ones(4),
        "bias": torch.zeros(4),
        "channel_dim": -1,
    }
    return arguments | changes


def bare(dtype, **changes):
    """Arguments of a call on [2, 3] of a dtype, without weight and bias."""
    tensors = {name: torch.ones(n, dtype=dtype) for name, n in (("input", (2, 3)), ("alpha", 1), ("shift", 1))}
    return good(**tensors, weight=None, bias=None) | changes


# What is wrong, and patterns that must all be found in the message (case does not count): the argument's name, what
# came, what was expected.
WRONG = {
    "integer input": (bare(torch.int64), ["input", "int64|long", ANY_FLOAT]),
    "complex input": (bare(torch.complex64), ["input", "complex", ANY_FLOAT]),
    "boolean input": (bare(torch.bool), ["input", "bool", ANY_FLOAT]),
    "float8 input": (bare(F32, input=torch.ones(2, 3).to(torch.float8_e4m3fn)), ["input", "float8", ANY_FLOAT]),
    "float16 scalars of float32": (
        bare(F32, alpha=torch.ones(1, dtype=F16)),
        ["alpha", "float16|half", r"float32|\bfloat\b"],
    ),
    "float64 scalars of float32": (
        good(alpha=torch.ones(1, dtype=F64), shift=torch.ones(1, dtype=F64)),
        ["alpha", "float64|double", r"float32|\bfloat\b"],
    ),
    "float32 scalars of float64": (bare(F64, shift=torch.ones(1)), ["shift", r"float32|\bfloat\b", "float64|double"]),
    "bfloat16 scalars of float16": (
        bare(F16, alpha=torch.ones(1, dtype=BF16), shift=torch.ones(1, dtype=BF16)),
        ["alpha", "bfloat16", "float16|half"],
    ),
    "alpha unlike shift": (bare(F16, alpha=torch.ones(1)), ["alpha", "shift", r"float32|\bfloat\b", "float16|half"]),
    "integer shift": (good(shift=torch.zeros(1, dtype=torch.int32)), ["shift", "int", r"float32|\bfloat\b"]),
    "float16 weight of float32": (
        good(weight=torch.ones(4, dtype=F16), bias=torch.ones(4, dtype=F16)),
        ["weight", "float16|half", r"float32|\bfloat\b"],
    ),
    "float64 bias of float32": (good(weight=None, bias=torch.ones(4, dtype=F64)), ["bias", "double|float64", "float"]),
    "weight unlike bias": (
        bare(F16, weight=torch.ones(3, dtype=F16), bias=torch.ones(3)),
        ["weight", "bias", "float16|half", r"float32|\bfloat\b"],
    ),
    "alpha of three": (good(alpha=torch.ones(3)), ["alpha", r"\[3\]|\b3 elements", "one|1 element"]),
    "alpha of none": (good(alpha=torch.ones(0)), ["alpha", r"\[0\]|\b0 elements", "one|1 element"]),
    "shift of two": (good(shift=torch.ones(2)), ["shift", r"\[2\]|\b2 elements", "one|1 element"]),
    "alpha of two dimensions": (good(alpha=torch.ones(1, 1)), ["alpha", r"\[1, ?1\]", r"\[1\]|0-d"]),
    "weight too long": (good(weight=torch.ones(5), bias=None), ["weight", r"\[5\]", r"\[4\]|\[2, ?3, ?4\]"]),
    "weight of the wrong rows": (
        good(weight=torch.ones(2, 4), bias=None),
        ["weight", r"\[2, ?4\]", r"\[3, ?4\]|\[2, ?3, ?4\]"],
    ),
    "weight that would broadcast": (
        good(weight=torch.ones(1), bias=None),
        ["weight", r"\[1\]", r"\[4\]|\[2, ?3, ?4\]"],
    ),
    "weight of too many dimensions": (
        good(weight=torch.ones(1, 2, 3, 4), bias=None),
        ["weight", r"\[1, ?2, ?3, ?4\]", r"\[2, ?3, ?4\]"],
    ),
    "weight without dimensions": (
        good(weight=torch.ones(()), bias=None),
        ["weight", r"\[\]|0-d", r"\[4\]|\[2, ?3, ?4\]"],
    ),
    "bias too short": (good(weight=None, bias=torch.ones(3)), ["bias", r"\[3\]", r"\[4\]|\[2, ?3, ?4\]"]),
    "bias shaped unlike weight": (good(bias=torch.ones(3, 4)), ["bias", "weight", r"\[4\]", r"\[3, ?4\]"]),
    "weight of another channel": (
        good(weight=torch.ones(4), bias=torch.ones(4), channel_dim=1),
        ["weight", r"\[4\]", r"\[3\]|size 3|\[2, ?3, ?4\]"],
    ),
    "weight of two dimensions along a channel": (
        good(weight=torch.ones(3, 4), bias=None, channel_dim=1),
        ["weight", r"\[3, ?4\]", r"\[3\]|1-d|one dimension"],
    ),
    "bias of another channel": (good(weight=None, channel_dim=0), ["bias", r"\[4\]", r"\[2\]|size 2|\[2, ?3, ?4\]"]),
    "0-d input with weight": (
        good(input=torch.ones(()), bias=None),
        ["weight", r"\[4\]", "0-d|dimension|none|without"],
    ),
    "0-d input with a weight of one": (
        good(input=torch.ones(()), weight=torch.ones(1), bias=None),
        ["weight", r"\[1\]", "0-d|dimension|none|without"],
    ),
    "0-d input with bias": (good(input=torch.ones(()), weight=None), ["bias", r"\[4\]", "0-d|dimension|none|without"]),
    "channel_dim too large": (good(channel_dim=3), ["channel_dim", r"\b3\b", r"-3"]),
    "channel_dim too small": (good(channel_dim=-4), ["channel_dim", "-4", "-3"]),
    "channel_dim of 0-d input": (bare(F32, input=torch.ones(()), channel_dim=1), ["channel_dim", r"\b1\b", "-1|0-d"]),
}
each_wrong = pytest.mark.parametrize(("arguments", "patterns"), WRONG.values(), ids=WRONG)


def expected_type(patterns):
    return IndexError if patterns[0] == "channel_dim" else RuntimeError


def message(patterns, function, *arguments):
    """The message of the right kind of error, checked against the patterns."""
    with pytest.raises(expected_type(patterns)) as raised:
        function(*arguments)
    assert type(raised.value) is expected_type(patterns)
    text = str(raised.value)
    assert text.startswith("derf: "), text
    for pattern in patterns:
        assert re.search(pattern, text, re.IGNORECASE), f"no {pattern!r} in: {text}"
    return text


def moved(arguments, to):
    return [to(a) if isinstance(a, torch.Tensor) else a for a in arguments.values()]


@each_wrong
def test_wrong_arguments(arguments, patterns, device):
    plain = moved(arguments, lambda t: t.to(device))
    text = message(patterns, FORWARD, *plain)
    assert message(patterns, derf.derf, *plain) == text
    with torch.inference_mode():
        assert message(patterns, FORWARD, *moved(arguments, lambda t: t.to(device, copy=True))) == text
    with torch.no_grad():
        assert message(patterns, FORWARD, *plain) == text
    learned = moved(
        arguments, lambda t: t.to(device, copy=True).requires_grad_(t.is_floating_point() or t.is_complex())
    )
    assert message(patterns, FORWARD, *learned) == text
    assert message(patterns, FORWARD, *moved(arguments, lambda t: t.to("meta"))) == text


@each_wrong
def test_wrong_arguments_of_the_backward_operator(arguments, patterns, device):
    plain = moved(arguments, lambda t: t.to(device))
    grad_output = torch.ones_like(plain[0])
    text = message(patterns, BACKWARD, grad_output, *plain, [True] * 5)
    with torch.inference_mode():
        message(patterns, BACKWARD, grad_output, *plain, [False] * 5)
    meta = moved(arguments, lambda t: t.to("meta"))
    assert message(patterns, BACKWARD, grad_output.to("meta"), *meta, [True] * 5) == text


WRONG_GRADIENTS = {
    "shape": (torch.ones(2, 3, 5), [r"\[2, ?3, ?5\]", r"\[2, ?3, ?4\]"]),
    "shape that would broadcast": (torch.ones(4), [r"\[4\]", r"\[2, ?3, ?4\]"]),
    "same number of elements": (torch.ones(24), [r"\[24\]", r"\[2, ?3, ?4\]"]),
    "float64": (torch.ones(2, 3, 4, dtype=F64), ["float64|double", r"float32|\bfloat\b"]),
    "bfloat16": (torch.ones(2, 3, 4, dtype=BF16), ["bfloat16", r"float32|\bfloat\b"]),
    "integers": (torch.ones(2, 3, 4, dtype=torch.int64), ["int64|long", r"float32|\bfloat\b"]),
}


@pytest.mark.parametrize(("grad_output", "patterns"), WRONG_GRADIENTS.values(), ids=WRONG_GRADIENTS)
def test_wrong_grad_output(grad_output, patterns, device):
    patterns = ["grad_output", *patterns]
    plain = moved(good(), lambda t: t.to(device))
    text = message(patterns, BACKWARD, grad_output.to(device), *plain, [True] * 5)
    with torch.inference_mode():
        assert message(patterns, BACKWARD, grad_output.to(device), *plain, [True] * 5) == text
    meta = moved(good(), lambda t: t.to("meta"))
    assert message(patterns, BACKWARD, grad_output.to("meta"), *meta, [True] * 5) == text


@pytest.mark.parametrize("name", NAMES[1:5])
@pytest.mark.parametrize("elsewhere", ["parameter", "input"])
def test_tensors_on_two_devices(name, elsewhere):
    arguments = good()
    for key in arguments.keys() - {"channel_dim"}:
        if (key == name) == (elsewhere == "parameter"):
            arguments[key] = arguments[key].to("meta")
    for grad_output in (None, torch.ones_like(arguments["input"])):
        operator = FORWARD if grad_output is None else BACKWARD
        before, after = ([], []) if grad_output is None else ([grad_output], [[True] * 5])
        with torch.inference_mode(grad_output is None):
            message([name, "meta", "cpu"], operator, *before, *arguments.values(), *after)


def test_grad_output_on_another_device():
    message(["grad_output", "meta", "cpu"], BACKWARD, torch.ones(2, 3, 4, device="meta"), *good().values(), [True] * 5)


@pytest.mark.parametrize("layout", ["sparse_coo", "sparse_csr", "mkldnn", "nested", "jagged"])
def test_other_layouts_are_refused(layout):
    dense = torch.ones(2, 3)
    inputs = {
        "sparse_coo": dense.to_sparse,
        "sparse_csr": dense.to_sparse_csr,
        "mkldnn": dense.to_mkldnn,
        "nested": lambda: torch.nested.nested_tensor([dense, dense]),
        "jagged": lambda: torch.nested.nested_tensor([dense, dense], layout=torch.jagged),
    }
    input = inputs[layout]()
    # The dispatcher or the operator itself may say so; both name the operator.
    with pytest.raises(RuntimeError, match="derf"):
        FORWARD(input, torch.ones(1), torch.zeros(1))
    with torch.inference_mode(), pytest.raises(RuntimeError, match="derf"):
        FORWARD(input, torch.ones(1), torch.zeros(1))


def test_sparse_parameters_are_refused():
    for name in NAMES[1:5]:
        with pytest.raises(RuntimeError, match="derf"):
            FORWARD(*good(**{name: good()[name].to_sparse()}).values())


@pytest.mark.parametrize("name", NAMES[:5])
def test_numbers_and_lists_are_no_tensors(name):
    for value in (3, 0.5, [1.0], "x"):
        with pytest.raises((TypeError, RuntimeError), match=name):
            derf.derf(**good(**{name: value}))


def test_channel_dim_must_be_an_integer():
    for value in (1.5, "1", None):
        with pytest.raises((TypeError, RuntimeError), match="channel_dim"):
            derf.derf(**good(channel_dim=value))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_tensors_run_or_say_why_not():
    arguments = moved(good(), lambda t: t.cuda())
    if "CUDA kernels: no" in derf.show_config():
        with pytest.raises(RuntimeError, match="derf: .*CUDA"):
            FORWARD(*arguments)
    else:
        assert FORWARD(*arguments).is_cuda

"""derf.Derf: parameters, options, copies, files, devices, and bad arguments; the examples in the docstrings."""

import copy
import doctest
import importlib
import inspect
import io
import pickle

import derf
import pytest
import torch
from samples import FLOATS, dtype_name, values
from tolerance import assert_forward, assert_gradients
from torch import nn


def test_defaults():
    module = derf.Derf(5)
    assert isinstance(module, nn.Module)
    assert module.normalized_shape == (5,) and isinstance(module.normalized_shape, tuple)
    assert (module.alpha_init, module.shift_init, module.elementwise_affine, module.channel_dim) == (0.5, 0.0, True, -1)
    state = module.state_dict()
    assert list(state) == ["alpha", "shift", "weight", "bias"]
    expected = {"alpha": [0.5], "shift": [0.0], "weight": [1.0] * 5, "bias": [0.0] * 5}
    assert {name: tensor.tolist() for name, tensor in state.items()} == expected
    assert all(p.requires_grad and p.dtype == torch.get_default_dtype() for p in module.parameters())


def test_signature():
    parameters = inspect.signature(derf.Derf).parameters
    assert list(parameters) == [
        "normalized_shape",
        "alpha_init",
        "shift_init",
        "elementwise_affine",
        "bias",
        "channel_dim",
        "inplace",
        "device",
        "dtype",
    ]
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "normalized_shape")
    assert list(inspect.signature(derf.derf).parameters) == [
        *("input", "alpha", "shift", "weight", "bias", "channel_dim", "out")
    ]
    assert derf.derf is derf.functional.derf
    functions = derf.derf, derf.replace_norm, derf.show_config, derf.decompositions, derf.onnx.translation_table
    for function in (*functions, derf.Derf.__init__, derf.Derf.forward):
        hints = inspect.signature(function)
        assert hints.return_annotation is not inspect.Signature.empty or function is derf.Derf.__init__
        assert all(p.annotation is not p.empty for name, p in hints.parameters.items() if name != "self")


@pytest.mark.parametrize("shape", [5, (5,), [5], torch.Size([5]), (3, 5), [2, 3, 5], (0,)])
def test_normalized_shape(shape, device):
    module = derf.Derf(shape, device=device)
    expected = (5,) if shape == 5 else tuple(shape)
    assert module.normalized_shape == expected
    assert module.weight.shape == expected and module.bias.shape == expected
    input = torch.randn(4, *expected, device=device)
    assert module(input).shape == input.shape


@pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
def test_forward_and_backward(dtype, device):
    module = derf.Derf((4, 6), alpha_init=0.8, shift_init=-0.2, device=device, dtype=dtype)
    assert {p.dtype for p in module.parameters()} == {dtype} and {p.device.type for p in module.parameters()} == {
        device
    }
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    input = torch.randn(3, 4, 6, device=device, dtype=dtype, requires_grad=True)
    output = module(input)
    assert_forward(output, input, *values(module))
    output.sum().backward()
    gradients = [input.grad, *(p.grad for p in values(module))]
    assert_gradients(gradients, torch.ones_like(output), input, *values(module))


def test_channels_in_the_middle(device):
    module = derf.Derf(6, channel_dim=1, device=device)
    nn.init.normal_(module.weight)
    input = torch.randn(2, 6, 5, 4, device=device).to(memory_format=torch.channels_last)
    output = module(input)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert_forward(output, input, *values(module), 1)


@pytest.mark.parametrize(
    ("options", "present"),
    [
        ({"elementwise_affine": False}, []),
        ({"elementwise_affine": False, "bias": True}, []),
        ({"bias": False}, ["weight"]),
        ({}, ["weight", "bias"]),
    ],
)
def test_weight_and_bias_can_be_left_out(options, present, device):
    module = derf.Derf(5, device=device, **options)
    assert list(module.state_dict()) == ["alpha", "shift", *present]
    assert (module.weight is not None, module.bias is not None) == ("weight" in present, "bias" in present)
    input = torch.randn(3, 5, device=device)
    assert_forward(module(input), input, *values(module))


def test_reset_parameters_starts_anew():
    module = derf.Derf(5, alpha_init=0.7, shift_init=0.1)
    started = copy.deepcopy(module.state_dict())
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 5, 6)
    module.reset_parameters()
    assert all(torch.equal(started[name], value) for name, value in module.state_dict().items())
    assert torch.equal(module.alpha, torch.tensor([0.7])) and torch.equal(module.shift, torch.tensor([0.1]))
    derf.Derf(5, elementwise_affine=False).reset_parameters()


def test_repr_tells_every_option():
    text = repr(derf.Derf((3, 5), alpha_init=0.25, shift_init=0.125, bias=False))
    assert text.startswith("Derf(")
    for part in ("3, 5", "0.25", "0.125", "bias=False"):
        assert part in text
    assert "channel_dim=1" in repr(derf.Derf(5, channel_dim=1))
    assert "elementwise_affine=False" in repr(derf.Derf(5, elementwise_affine=False))


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save", "state_dict"])
def test_copies_compute_the_same(how, device):
    module = derf.Derf(5, channel_dim=1, alpha_init=0.9, device=device)
    nn.init.normal_(module.weight)
    if how == "deepcopy":
        other = copy.deepcopy(module)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(module))
    elif how == "torch.save":
        stream = io.BytesIO()
        torch.save(module, stream)
        stream.seek(0)
        other = torch.load(stream, weights_only=False)
    else:
        other = derf.Derf(5, channel_dim=1, device=device)
        other.load_state_dict(module.state_dict())
    input = torch.randn(2, 5, 3, device=device)
    assert torch.equal(other(input), module(input))
    assert not {p.data_ptr() for p in module.parameters()} & {p.data_ptr() for p in other.parameters()}
    assert how == "state_dict" or repr(other) == repr(module)


def test_made_on_the_meta_device_then_filled(device):
    module = derf.Derf(5, device="meta")
    assert all(p.is_meta for p in module.parameters())
    assert module(torch.empty(2, 5, device="meta")).shape == (2, 5)
    module.to_empty(device=device)
    module.reset_parameters()
    input = torch.randn(2, 5, device=device)
    assert torch.equal(module(input), derf.Derf(5, device=device)(input))
    with torch.device("meta"):
        assert derf.Derf(5).weight.is_meta


def test_default_dtype_is_followed():
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert {p.dtype for p in derf.Derf(5).parameters()} == {torch.float64}
    finally:
        torch.set_default_dtype(before)


def test_conversion(device):
    module = derf.Derf(5, device=device).to(torch.bfloat16)
    input = torch.randn(2, 5, device=device, dtype=torch.bfloat16)
    assert module(input).dtype == torch.bfloat16
    assert_forward(module.float()(input), input, *values(module))


def test_wrong_input_names_the_argument():
    with pytest.raises(RuntimeError, match=r"derf: weight must .*\[2, 4\].*\[5\]"):
        derf.Derf(5)(torch.ones(2, 4))
    with pytest.raises(RuntimeError, match="derf: alpha"):
        derf.Derf(5, dtype=torch.float64)(torch.ones(2, 5))


WRONG = {
    "negative size": (ValueError, (-3,), {}, ["normalized_shape", "-3"]),
    "negative size inside": (ValueError, ((2, -1),), {}, ["normalized_shape", "-1"]),
    "string": (TypeError, ("x",), {}, ["normalized_shape", "x"]),
    "strings": (TypeError, (("3", "4"),), {}, ["normalized_shape", "3"]),
    "fraction": (TypeError, (3.5,), {}, ["normalized_shape", "3.5"]),
    "fraction inside": (TypeError, ((2, 3.5),), {}, ["normalized_shape", "3.5"]),
    "None": (TypeError, (None,), {}, ["normalized_shape", "None"]),
    "two dimensions along a channel": (
        ValueError,
        ((2, 3),),
        {"channel_dim": 1},
        ["normalized_shape", "2, 3", "channel_dim"],
    ),
    "channel_dim string": (TypeError, (3,), {"channel_dim": "1"}, ["channel_dim", "1"]),
    "channel_dim fraction": (TypeError, (3,), {"channel_dim": 1.0}, ["channel_dim", "1.0"]),
    "alpha_init string": (TypeError, (3,), {"alpha_init": "big"}, ["alpha_init", "big"]),
    "alpha_init None": (TypeError, (3,), {"alpha_init": None}, ["alpha_init", "None"]),
    "alpha_init list": (TypeError, (3,), {"alpha_init": [0.5, 0.5, 0.5]}, ["alpha_init", "0.5"]),
    "alpha_init complex": (TypeError, (3,), {"alpha_init": 1j}, ["alpha_init", "1j"]),
    "shift_init string": (TypeError, (3,), {"shift_init": "none"}, ["shift_init", "none"]),
    "channel_dim bool": (TypeError, (3,), {"channel_dim": True}, ["channel_dim", "True"]),
    "integer dtype": ((TypeError, ValueError), (3,), {"dtype": torch.int64}, ["dtype", "int64"]),
    "complex dtype": ((TypeError, ValueError), (3,), {"dtype": torch.complex64}, ["dtype", "complex64"]),
}


@pytest.mark.parametrize(("error", "arguments", "options", "parts"), WRONG.values(), ids=WRONG)
def test_wrong_options(error, arguments, options, parts):
    with pytest.raises(error) as raised:
        derf.Derf(*arguments, **options)
    text = str(raised.value)
    assert text.startswith("derf: ")
    for part in parts:
        assert part in text, f"no {part!r} in: {text}"


DOCUMENTED = [
    "calibrate",
    "compile_passes",
    "decomposition",
    "distributed",
    "flops",
    "fold",
    "functional",
    "functions",
    "fuse",
    "fused",
]
DOCUMENTED += ["modulated", "modules", "monitor", "norms", "onnx", "quantized", "recompute", "replace", "report"]
DOCUMENTED += ["restore", "start", "weight_decay"]


@pytest.mark.parametrize("name", ["derf", *(f"derf.{name}" for name in DOCUMENTED)])
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
    assert results.attempted > 0 or name == "derf"


def test_version():
    assert derf.__version__.count(".") == 2
    assert derf.__version__ == importlib.metadata.version("derf")

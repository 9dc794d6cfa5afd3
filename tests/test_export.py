"""Programs that leave Python: torch.export, AOTInductor, ONNX, TorchScript."""

import io
import re
import subprocess
import sys
import warnings

import derf
import numpy as np
import pytest
import torch
from pointwise_reference import STUDIES
from reference import derf64, same_bits
from samples import dtype_name, gradients, values
from torch import nn
from torch.export import Dim

FORWARD = torch.ops.derf.derf.default
# options, shape of the input
LAYERS = {
    "rows": ({"normalized_shape": 6}, (4, 6)),
    "sequence": ({"normalized_shape": 6, "bias": False}, (4, 3, 6)),
    "trailing": ({"normalized_shape": (3, 6)}, (4, 3, 6)),
    "images": ({"normalized_shape": 6, "channel_dim": 1}, (4, 6, 3, 2)),
    "bare": ({"normalized_shape": 6, "elementwise_affine": False}, (4, 6)),
}
each_layer = pytest.mark.parametrize(("options", "shape"), LAYERS.values(), ids=LAYERS)


def layer(options, device="cpu", dtype=None):
    module = derf.Derf(**options, device=device, dtype=dtype)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.4, 1.2)
    return module


def called(program):
    return {node.target for node in program.graph.nodes if node.op == "call_function"}


def without_derf(code, *arguments):
    """A process that has not loaded the operators."""
    code = f"import sys, torch, torch._inductor\n{code}\nassert 'derf' not in sys.modules"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


# torch.export


@each_layer
@pytest.mark.parametrize("strict", [False, True], ids=["not strict", "strict"])
def test_export_with_any_number_of_rows(strict, options, shape, device):
    module = layer(options, device)
    program = torch.export.export(
        module, (torch.randn(shape, device=device),), dynamic_shapes=({0: Dim("rows")},), strict=strict
    )
    assert called(program) == {FORWARD}
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    loaded = torch.export.load(stream).module()
    input = torch.randn(9, *shape[1:], device=device, requires_grad=True)
    assert same_bits(loaded(input), module(input))
    mine, expected = (gradients(f, input, f.parameters()) for f in (loaded, module))
    assert all(same_bits(a, b) for a, b in zip(mine, expected, strict=True))


def test_export_of_unknown_sizes(device):
    class Selected(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = derf.Derf(6, device=device)

        def forward(self, x):
            return self.norm(x[x[:, 0] > 0])

    module = Selected()
    program = torch.export.export(module, (torch.randn(5, 6, device=device),))
    input = torch.randn(5, 6, device=device)
    assert same_bits(program.module()(input), module(input))


def test_decomposed_programs_need_no_derf(tmp_path):
    table = torch.export.default_decompositions()
    table.update(derf.decompositions())
    for name, (options, shape) in LAYERS.items():
        module, input = layer(options), torch.randn(shape)
        program = torch.export.export(module, (input,)).run_decompositions(table)
        assert not any("derf" in str(target) for target in called(program))
        torch.export.save(program, tmp_path / f"{name}.pt2")
        torch.save((input, module(input).detach()), tmp_path / f"{name}.pt")
    code = """
import pathlib
for program in pathlib.Path(sys.argv[1]).glob("*.pt2"):
    input, output = torch.load(program.with_suffix(".pt"))
    torch.testing.assert_close(torch.export.load(program).module()(input), output, rtol=1e-6, atol=1e-6)
    print(program.stem)"""
    result = without_derf(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == set(LAYERS)


def test_a_program_without_the_library_says_what_is_missing(tmp_path):
    module, input = derf.Derf(6), torch.randn(4, 6)
    torch.export.save(torch.export.export(module, (input,)), tmp_path / "program.pt2")
    torch.jit.save(scripted("script", module, input), tmp_path / "scripted.pt")
    code = """
for load, name in (torch.export.load, "program.pt2"), (torch.jit.load, "scripted.pt"):
    try:
        load(f"{sys.argv[1]}/{name}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
    else:
        sys.exit(f"{name} was loaded")"""
    result = without_derf(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "derf.derf" in result.stderr and "Unknown builtin op: derf::derf" in result.stderr


@pytest.mark.parametrize("how", ["export", "exported", "scripted", "traced"])
def test_wrong_input_gets_the_operators_message(how):
    module = derf.Derf(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated by PyTorch
        function = {
            "export": lambda x: torch.export.export(module, (x,)),
            "exported": torch.export.export(module, (torch.ones(4, 6),)).module(),
            "scripted": torch.jit.script(module),
            "traced": torch.jit.trace(module, torch.ones(4, 6)),
        }[how]
    with pytest.raises(RuntimeError, match="derf: alpha must have the dtype of input, Double, but has Float"):
        function(torch.ones(4, 6, dtype=torch.float64))
    if how != "exported":  # whose own guards on sizes come first
        with pytest.raises(RuntimeError, match=r"derf: weight must .*\[4, 5\].*\[6\]"):
            function(torch.ones(4, 5))


# AOTInductor


def test_a_package_of_aotinductor(tmp_path, device, capfd):
    model = nn.Sequential(derf.Derf(6, bias=False), nn.Linear(6, 8), derf.Derf(8)).to(device).eval()
    rows = Dim("rows", min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(4, 6, device=device),), dynamic_shapes=({0: rows},))
        path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "model.pt2"))
        loaded = torch._inductor.aoti_load_package(path)
        input = torch.randn(9, 6, device=device)
        torch.testing.assert_close(loaded(input), model(input), rtol=1e-6, atol=1e-6)
        with pytest.raises(RuntimeError) as raised:
            loaded(input[:, :5])
    # Until 2.11 AOTInductor prints an operator's message, and raises one of its own.
    said = str(raised.value) + capfd.readouterr().err
    assert re.search(r"derf: weight must have the shape of trailing dimensions of input.*\[9, 5\].*\[6\]", said)
    result = without_derf("torch._inductor.aoti_load_package(sys.argv[1])", path)
    assert result.returncode == 1 and "schema for derf::derf" in result.stderr


# ONNX


def onnx_output(model, example, input, dynamic_shapes=None):
    """What onnxruntime computes, and the operators of the model."""
    import onnxruntime

    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        dynamic_shapes=dynamic_shapes,
        custom_translation_table=derf.onnx.translation_table(),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: input.numpy()})
    assert all(node.domain == "" for node in program.model.graph)
    return torch.from_numpy(np.asarray(output)), [node.op_type for node in program.model.graph]


@each_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=dtype_name)
def test_onnx(dtype, options, shape):
    for parameters in {dtype, torch.float32}:
        module = layer(options, dtype=parameters).eval()
        input = torch.randn(9, *shape[1:]).to(dtype)
        output, operators = onnx_output(module, input[:4], input, ({0: Dim("rows")},))
        assert output.dtype == dtype
        assert set(operators) <= {"Mul", "Add", "Erf", "Cast", "Unsqueeze"}
        truth = derf64(input, *values(module), module.channel_dim)
        # onnxruntime's erf has an absolute error of 3e-7; then rounding to the output's dtype, below 4.
        bound = 2e-6 if dtype == torch.float32 else 2e-6 + 2.0**-10
        assert (output.double() - truth).abs().max() < bound


def test_onnx_of_a_model():
    model = nn.Sequential(nn.Linear(6, 8), derf.Derf(8), nn.GELU(), nn.Linear(8, 6), derf.Derf(6)).eval()
    input = torch.randn(9, 6)
    output, operators = onnx_output(model, input[:4], input, ({0: Dim("rows")},))
    torch.testing.assert_close(output, model(input).detach(), rtol=1e-5, atol=1e-5)
    assert "Erf" in operators and not {"Where", "IsInf"} & set(operators)


def test_onnx_of_a_scalar():
    module = derf.Derf(1, elementwise_affine=False).eval()
    output, _ = onnx_output(module, torch.tensor(0.3), torch.tensor(0.7))
    assert output.shape == ()
    torch.testing.assert_close(output, module(torch.tensor(0.7)).detach(), rtol=0, atol=1e-6)


# Alone, and with every option; ONNX has no functions of its own for these.
FAMILY = {
    "tanh": {"function": "tanh"},
    "isru for each channel": {"function": "isru", "per_channel": True, "channel_dim": 1, "shift": False},
    "studied": {"function": "isru", "per_channel": True, **STUDIES["all"]},
    "erf in the middle": {"channel_dim": 1, **STUDIES["all"]},
}
each_of_the_family = pytest.mark.parametrize("options", FAMILY.values(), ids=FAMILY)


def of_family(options, dtype=None):
    module = derf.PointwiseNorm(6, **options, dtype=dtype)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.4, 1.2)
    return module


@each_of_the_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=dtype_name)
def test_onnx_of_the_family(dtype, options):
    module = of_family(options, dtype).eval()
    input = torch.randn(9, 6, 6).to(dtype)
    output, _ = onnx_output(module, input[:4], input, ({0: Dim("rows")},))
    assert output.dtype == dtype
    # onnxruntime's own functions have absolute errors of some 1e-7; then rounding to the output's dtype, below 4.
    bound = 3e-6 if dtype == torch.float32 else 3e-6 + 2.0**-9
    assert (output.double() - module(input).double()).abs().max() < bound


@pytest.mark.parametrize("function", derf.functions())
def test_onnx_of_every_function(function):
    module = derf.PointwiseNorm(6, function, shift=False, elementwise_affine=False, alpha_init=1.0).eval()
    input = torch.cat([torch.linspace(-8, 8, 95), torch.tensor([0.0])]).reshape(16, 6)
    output, _ = onnx_output(module, input, input)
    # Values within 8; absolute errors as above, and log(1 + u) in float32.
    torch.testing.assert_close(output, module(input).detach(), rtol=2e-6, atol=1e-6)


def test_onnx_of_groups_and_float64():
    class Modulated(nn.Module):
        def forward(self, x, scale, shift, one):
            return derf.functional.pointwise_norm(
                x, one, weight=scale[:, None], bias=shift[:, None], function="isru", weight_offset=1.0
            )

    inputs = torch.randn(2, 5, 4), torch.randn(2, 4), torch.randn(2, 4), torch.ones(1)
    inputs = tuple(t.double() for t in inputs)
    program = torch.onnx.export(
        Modulated(),
        inputs,
        dynamo=True,
        custom_translation_table=derf.onnx.translation_table(),
        verbose=False,
    )
    import onnxruntime

    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    (output,) = session.run(None, {name: t.numpy() for name, t in zip(names, inputs, strict=True)})
    torch.testing.assert_close(torch.from_numpy(output), Modulated()(*inputs), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("function", derf.functions())
def test_every_function_decomposes(function):
    # PyTorch refuses a decomposition that writes into a tensor, which ATen's own `1 - tensor` and `1 / tensor` do.
    module = derf.PointwiseNorm(6, function)
    table = torch.export.default_decompositions()
    table.update(derf.decompositions())
    program = torch.export.export(module, (torch.randn(4, 6),)).run_decompositions(table)
    others = {target for target in called(program) if torch.Tag.core not in target.tags}
    assert not others, others
    input = torch.randn(4, 6)
    torch.testing.assert_close(program.module()(input), module(input), rtol=1e-5, atol=1e-6)


@each_of_the_family
def test_programs_of_the_family(options):
    module, input = of_family(options), torch.randn(9, 6, 6, requires_grad=True)
    program = torch.export.export(module, (input[:4].detach(),), dynamic_shapes=({0: Dim("rows")},))
    assert called(program) == {torch.ops.derf.pointwise_norm.default}
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    loaded = torch.export.load(stream).module()
    table = torch.export.default_decompositions()
    table.update(derf.decompositions())
    decomposed = program.run_decompositions(table)
    assert not any("derf" in str(target) for target in called(decomposed))
    torch.testing.assert_close(decomposed.module()(input), module(input), rtol=1e-5, atol=1e-6)
    for how in ("script", "trace"):
        stream = io.BytesIO()
        torch.jit.save(scripted(how, module, input), stream)
        stream.seek(0)
        for other in (torch.jit.load(stream), loaded):
            assert same_bits(other(input), module(input))
            mine, expected = (gradients(f, input, f.parameters()) for f in (other, module))
            assert all(same_bits(a, b) for a, b in zip(mine, expected, strict=True))


def test_importing_derf_imports_neither_onnx_nor_distributed():
    code = "import sys, torch; before = set(sys.modules); import derf; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in result.stdout.split()}
    assert not imported & {"onnx", "onnxscript", "onnxruntime", "transformers", "sklearn"}
    assert not any(name.startswith(("torch.distributed.tensor", "torch._inductor")) for name in result.stdout.split())


# TorchScript


def scripted(how, module, input):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated by PyTorch
        return torch.jit.script(module) if how == "script" else torch.jit.trace(module, input)


@each_layer
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_saves_loads_and_trains(how, options, shape, device):
    module = layer(options, device)
    input = torch.randn(shape, device=device, requires_grad=True)
    program = scripted(how, module, input)
    stream = io.BytesIO()
    torch.jit.save(program, stream)
    stream.seek(0)
    loaded = torch.jit.load(stream)
    for other in (program, loaded):
        for _ in range(3):  # the profiling executor changes the program after its first runs
            assert same_bits(other(input), module(input))
            mine, expected = (gradients(f, input, f.parameters()) for f in (other, module))
            assert all(same_bits(a, b) for a, b in zip(mine, expected, strict=True))


@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_freezes(how, device):
    model = nn.Sequential(nn.Linear(6, 8), derf.Derf(8)).to(device).eval()
    input = torch.randn(4, 6, device=device)
    with torch.no_grad():
        program = scripted(how, model, input)
        frozen = torch.jit.freeze(program)
        optimized = torch.jit.optimize_for_inference(program)
        for other in (frozen, optimized):
            for _ in range(3):
                torch.testing.assert_close(other(input), model(input), rtol=1e-6, atol=1e-6)
    assert "derf::derf" in str(frozen.graph)


def test_torchscript_functions_may_leave_out_arguments(device):
    def function(x: torch.Tensor, one: torch.Tensor, bias: torch.Tensor):
        return torch.ops.derf.derf(x, one, shift=one, bias=bias, channel_dim=1) + torch.ops.derf.derf(x, one, one)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated by PyTorch
        program = torch.jit.script(function)
    tensors = torch.randn(2, 3, 4, device=device), torch.ones(1, device=device), torch.randn(3, device=device)
    assert same_bits(program(*tensors), function(*tensors))
    x = tensors[0].double().requires_grad_()
    doubled = x, *(t.double() for t in tensors[1:])
    (first,) = torch.autograd.grad(program(*doubled).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    (expected,) = torch.autograd.grad(function(*doubled).square().sum(), x, create_graph=True)
    torch.testing.assert_close(second, torch.autograd.grad(expected.square().sum(), x)[0])

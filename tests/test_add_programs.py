"""derf::add_pointwise_norm in programs: torch.compile, torch.export, decompositions, ONNX, FLOPs."""

import derf
import pytest
import torch
from samples import dtype_name
from torch.utils.flop_counter import FlopCounterMode


def arguments(dtype=torch.float32):
    return tuple(t.to(dtype) for t in (*torch.randn(2, 4, 3, 8), torch.randn(8)))


def test_compile():
    layer, tensors = derf.AddDerf(8), [t.requires_grad_() for t in arguments()]
    leaves = [*tensors, *layer.parameters()]

    def total(layer):
        output, sum = layer(*tensors)
        return output.square().sum() + sum.sin().sum()

    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert torch.equal(total(compiled), total(layer))
    for ours, expected in zip(
        torch.autograd.grad(total(compiled), leaves), torch.autograd.grad(total(layer), leaves), strict=True
    ):
        assert torch.equal(ours, expected)


def test_export_and_decompositions():
    layer, tensors = derf.AddDerf(8), arguments()
    program = torch.export.export(layer, tensors)
    assert all(torch.equal(a, b) for a, b in zip(program.module()(*tensors), layer(*tensors), strict=True))
    table = torch.export.default_decompositions()
    table.update(derf.decompositions())
    program = program.run_decompositions(table)
    assert not [node for node in program.graph.nodes if "derf" in str(node.target)]
    for ours, expected in zip(program.module()(*tensors), layer(*tensors), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=dtype_name)
def test_onnx(dtype):
    onnxruntime = pytest.importorskip("onnxruntime")
    layer, tensors = derf.AddDerf(8, dtype=dtype), arguments(dtype)
    program = torch.onnx.export(
        layer, tensors, dynamo=True, custom_translation_table=derf.onnx.translation_table(), verbose=False
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [input.name for input in session.get_inputs()]
    results = session.run(None, {name: t.numpy() for name, t in zip(names, tensors, strict=True)})
    for found, expected in zip(results, layer(*tensors), strict=True):
        # onnxruntime's erf has an absolute error of 3e-7; then rounding to the output's dtype, below 4.
        unit = torch.finfo(dtype).eps
        torch.testing.assert_close(torch.from_numpy(found), expected.detach(), rtol=unit, atol=4e-7 + 4 * unit)


def test_flops():
    layer, (x, residual, gate) = derf.AddDerf(8), arguments()
    for gated, more in (((), 1), ((gate,), 2)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(x, residual, *gated)
        assert counter.get_total_flops() == (22 + more) * x.numel()  # 22: a Derf's own

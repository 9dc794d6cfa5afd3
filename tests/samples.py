"""Arguments for the operators: dtypes that go together, random calls, and the numbers that numerics are tried on."""

import torch

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SIXTEEN_BITS = (torch.float16, torch.bfloat16)

# Every allowed combination of the dtypes of input, of alpha and shift, of weight and bias.
DTYPES = [(torch.float64,) * 3, (torch.float32,) * 3] + [
    (half, scalars, channels)
    for half in SIXTEEN_BITS
    for scalars in (half, torch.float32)
    for channels in (half, torch.float32)
]


def dtype_name(dtypes):
    """ "float16" or "float16-float32-float16" for pytest's lists."""
    dtypes = dtypes if isinstance(dtypes, tuple) else (dtypes,)
    names = [str(d).removeprefix("torch.") for d in dtypes]
    return names[0] if len(set(names)) == 1 else "-".join(names)


def parameters(input, channel_shape=None, dtypes=None, weight=True, bias=True, scalar_shape=(1,)):
    """Random alpha, shift, weight, bias for an input; ``channel_shape`` defaults to its last dimension."""
    _, scalars, channels = dtypes or (input.dtype,) * 3
    if channel_shape is None:
        channel_shape = input.shape[-1:]
    return (
        torch.empty(scalar_shape).uniform_(0.4, 1.2).to(input.device, scalars),
        torch.empty(scalar_shape).uniform_(-0.4, 0.4).to(input.device, scalars),
        torch.empty(channel_shape).uniform_(-2, 2).to(input.device, channels) if weight else None,
        torch.empty(channel_shape).uniform_(-1, 1).to(input.device, channels) if bias else None,
    )


def call(shape, dtypes=(torch.float32,) * 3, channel_dim=-1, weight_dims=1, weight=True, bias=True, device="cpu"):
    """Random arguments (input, alpha, shift, weight, bias, channel_dim) of the operator for a contiguous input."""
    input = (2 * torch.randn(shape)).to(device, dtypes[0])
    if not shape:
        weight = bias = False
    last = channel_dim in (-1, len(shape) - 1)
    channel_shape = tuple(shape[len(shape) - weight_dims :]) if last else (shape[channel_dim],)
    return (input, *parameters(input, channel_shape, dtypes, weight, bias), channel_dim)


def learned(arguments):
    """The arguments with every tensor requiring grad, and those tensors."""
    arguments = [t.requires_grad_() if isinstance(t, torch.Tensor) else t for t in arguments]
    return arguments, [t for t in arguments if isinstance(t, torch.Tensor)]


def values(module):
    """What a layer calls its operator with, beside input."""
    return module.alpha, module.shift, module.weight, module.bias


def gradients(function, input, leaves):
    """Of the sum of squares of what the function gives."""
    return torch.autograd.grad(function(input).square().sum(), [input, *leaves])


def grad_like(input):
    """A random grad_output with input's shape, strides and dtype."""
    return torch.empty_like(input).copy_(torch.randn(input.shape))


def every_value(dtype):
    """All 65,536 values of a 16-bit type."""
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def float32_between(low, high, step=1):
    """Every ``step``-th float32 from ``low`` to ``high`` (both positive, or +0), each also negated."""
    first, last = torch.tensor([low, high], dtype=torch.float32).view(torch.int32).tolist()
    positive = torch.arange(first, last + 1, step, dtype=torch.int32).view(torch.float32)
    return torch.cat([positive, -positive])


def float32_samples(thinning=1):
    """Both signs: every 801st of all finite float32, so uniform in the logarithm and through the denormals, denser
    where erf bends (every 11th in [0.25, 4.5]), and the ends of the denormal and of the finite range."""
    return torch.cat(
        [
            float32_between(0.0, torch.finfo(torch.float32).max, 801 * thinning),
            float32_between(0.25, 4.5, 11 * thinning),
            float32_between(0.0, 3e-42),
            float32_between(1.1754e-38, 1.1755e-38),
            float32_between(3.4028e38, torch.finfo(torch.float32).max),
        ]
    )


def float64_samples(count, seed=0):
    """``count`` float64 of random sign: a third each uniform in [0, 6.5], uniform in the logarithm from the smallest
    denormal to the largest number, and uniform in the logarithm in [2^-40, 8]."""
    generator = torch.Generator().manual_seed(seed)
    third = count // 3
    unit = torch.rand(3, third, dtype=torch.float64, generator=generator)
    # Random bit patterns between those of two positive numbers are uniform in the logarithm.
    everything = (unit[1] * 0x7FEFFFFFFFFFFFFF).to(torch.int64).view(torch.float64)
    middle = torch.exp2(unit[2] * 43 - 40)
    denormal = torch.randint(0, 2**52, (64,), generator=generator).view(torch.float64)
    ends = torch.tensor([0.0, 5e-324, 2.0**-1022, 1.0, 6.0, 27.3, torch.finfo(torch.float64).max], dtype=torch.float64)
    positive = torch.cat([unit[0] * 6.5, everything, middle, denormal, ends])
    return torch.where(torch.rand(positive.shape, generator=generator) < 0.5, -positive, positive)

"""Independence of thread count and size: repeatability, stores that bypass the cache, more than 2^31 elements."""

import pytest
import reference
import torch
from reference import same_bits
from samples import DTYPES, call, dtype_name, grad_like
from tolerance import roundoff

FORWARD, BACKWARD = torch.ops.derf.derf, torch.ops.derf.derf_backward
FLOAT32 = (torch.float32,) * 3
each_dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)


def both(grad_output, arguments):
    """Output and the five gradients."""
    return (FORWARD(*arguments), *BACKWARD(grad_output, *arguments, [True] * 5))


@each_dtypes
@pytest.mark.parametrize(
    ("shape", "channel_dim"),
    [
        ((1023, 257), -1),
        ((7, 40_001), -1),
        ((300_007, 1), -1),
        ((3, 65, 1111), 1),
        ((90_001, 3), -1),
        ((2, 100_003), 0),
    ],
    ids=str,
)
def test_no_bit_depends_on_the_number_of_threads(shape, channel_dim, dtypes, set_threads):
    arguments = call(shape, dtypes, channel_dim)
    grad_output = grad_like(arguments[0])
    set_threads(1)
    alone = both(grad_output, arguments)
    for threads in (2, 3, 1):
        set_threads(threads)
        for _ in range(2):
            assert all(
                same_bits(mine, expected) for mine, expected in zip(both(grad_output, arguments), alone, strict=True)
            )


@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_bits_repeat_from_run_to_run(channel_dim, device):
    arguments = call((300, 77, 31), channel_dim=channel_dim, device=device)
    grad_output = grad_like(arguments[0])
    first = both(grad_output, arguments)
    for _ in range(5):
        assert all(
            same_bits(mine, expected) for mine, expected in zip(both(grad_output, arguments), first, strict=True)
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=dtype_name)
def test_more_than_64_mib_gives_the_bits_of_small_pieces(dtype, device):
    # 80 MiB: a store that bypasses the cache must write what an ordinary one does, at the ends too.
    columns = 1023
    rows = 80 * 2**20 // (columns * dtype.itemsize)
    input, *rest = call((rows, columns), (dtype,) * 3, device=device)
    grad_output = grad_like(input)
    only_input = [True, False, False, False, False]
    output, grad = FORWARD(input, *rest), BACKWARD(grad_output, input, *rest, only_input)[0]
    for start in range(0, rows, 999):
        piece = slice(start, start + 999)
        assert same_bits(output[piece], FORWARD(input[piece], *rest))
        assert same_bits(grad[piece], BACKWARD(grad_output[piece], input[piece], *rest, only_input)[0])


def test_more_than_64_mib_at_an_odd_address(device):
    input, *rest = call((80 * 2**18 + 13,), FLOAT32, weight=False, bias=False, device=device)
    input = input[5:]
    output = FORWARD(input, *rest)
    for start in range(0, len(input), 100_003):
        piece = slice(start, start + 100_003)
        assert same_bits(output[piece], FORWARD(input[piece], *rest))


def test_large_tensor_with_channels_in_the_middle(device):
    input, *rest = call((3, 77, 90_001), FLOAT32, channel_dim=1, device=device)
    output = FORWARD(input, *rest)
    for i in range(3):
        for part in (slice(0, 1000), slice(45_000, 46_000), slice(-1000, None)):
            assert same_bits(output[i, :, part].contiguous(), FORWARD(input[i : i + 1, :, part].contiguous(), *rest)[0])


def test_more_than_two_to_the_31_elements(need_memory, device):
    # Input and output, then input and its gradient: 2 x 4 GiB, and some to spare.
    need_memory(10)
    if device == "cuda" and torch.cuda.mem_get_info()[0] < 10 * 2**30:
        pytest.skip("needs 10 GiB of free memory on the device")
    # A prime number of rows, over and over: no block of work begins where the pattern does.
    columns, pattern_rows = 1024, 509
    times = 2**31 // (columns * pattern_rows) + 1
    dtypes = (torch.bfloat16, torch.float32, torch.float32)
    pattern, *rest = call((pattern_rows, columns), dtypes, device=device)
    input = torch.empty(times, pattern_rows, columns, dtype=torch.bfloat16, device=device).copy_(pattern)
    assert input.numel() > 2**31

    def repeats(result, once):
        return torch.equal(result.view(torch.int64), once.view(torch.int64).expand(times, -1, -1))

    output = FORWARD(input, *rest)
    assert repeats(output, FORWARD(pattern, *rest))
    del output

    # grad_output is input itself, which saves 4 GiB.
    gradient, *sums = BACKWARD(input, input, *rest, [True] * 5)
    assert repeats(gradient, BACKWARD(pattern, pattern, *rest, [True] * 5)[0])
    alpha, shift, weight, _, _ = rest
    for result, once in zip(sums, reference.parameter_gradients64(pattern, pattern, alpha, shift, weight), strict=True):
        # float32 sums of terms that repeat: the slope's 2^-14, and the roundings of a sum in blocks (2^21 rows).
        allowed = (2.0**-14 + 21 * roundoff(torch.float32)) * times * once.abs().max()
        assert (result.double() - times * once).abs().max() <= allowed

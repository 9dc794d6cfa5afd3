"""For the tests of derf.calibrate: a small network with norms, and least squares in float64 on its activations."""

import torch
from torch import nn


def norms_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, (nn.LayerNorm, nn.RMSNorm))}


def made_norm(norm):
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return norm


class ChannelNorm(nn.Module):
    """A LayerNorm of [N, C, H, W]."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(channels) + 0.5), nn.Parameter(torch.rand(channels))

    def forward(self, x):
        x = x - x.mean(1, keepdim=True)
        x = x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Block(nn.Module):
    """Norm first, a residual stream that grows."""

    def __init__(self, width, norm):
        super().__init__()
        self.norm, self.up, self.down = made_norm(norm(width)), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return x + 2 * self.dropout(self.down(self.up(self.norm(x)).relu()))


def network(norm=nn.LayerNorm, width=12, depth=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), *(Block(width, norm) for _ in range(depth)), made_norm(norm(width)))


def batches(count=4, rows=200):
    random = torch.Generator().manual_seed(1)
    return [torch.randn(rows, 6, generator=random) * torch.rand(rows, 1, generator=random) for _ in range(count)]


@torch.no_grad()
def activations(model, data, names):
    """{name: (inputs, outputs)} in float64, over all batches."""
    seen = {name: ([], []) for name in names}

    def keep(name):
        def hook(module, inputs, output):
            seen[name][0].append(inputs[0].double().flatten(0, -2))
            seen[name][1].append(output.double().flatten(0, -2))

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    model.eval()
    for batch in data:
        model(batch)
    for handle in handles:
        handle.remove()
    return {name: (torch.cat(x), torch.cat(t)) for name, (x, t) in seen.items()}


def least_squares(x, t, alpha, with_bias=True):
    """weight, bias and the squared error of each channel's own regression, by QR and not by sums."""
    e = torch.erf(alpha * x)
    weights, biases = [], []
    for channel in range(x.shape[1]):
        columns = [e[:, channel]] + [torch.ones_like(e[:, channel])] * with_bias
        solution = torch.linalg.lstsq(torch.stack(columns, 1), t[:, channel : channel + 1]).solution.flatten()
        weights.append(solution[0])
        biases.append(solution[1] if with_bias else torch.tensor(0.0, dtype=torch.float64))
    weight, bias = torch.stack(weights), torch.stack(biases)
    return weight, bias, (weight * e + bias - t).square().mean(0)


def assert_fitted(layer, x, t):
    """The layer's weight and bias are the regression's, and no other alpha leaves much less."""
    with_bias = layer.bias is not None
    weight, bias, error = least_squares(x, t, layer.alpha.double().item(), with_bias)
    # The ridge is 1e-6 of the mean variance, and parameters and erf are float32: 2^-23 of values up to 5.
    torch.testing.assert_close(layer.weight.double(), weight, rtol=1e-4, atol=1e-5)
    if with_bias:
        torch.testing.assert_close(layer.bias.double(), bias, rtol=1e-4, atol=1e-5)
    assert layer.shift.item() == 0
    alphas = layer.alpha.item() * torch.logspace(-2, 2, 81, dtype=torch.float64)
    best = min(least_squares(x, t, alpha, with_bias)[2].sum().item() for alpha in alphas)
    # alpha is found on a sample and to 2 %, where the error is flat.
    assert error.sum().item() <= 1.02 * best + 1e-12

"""Two models of DNA, small, in the manner of HyenaDNA and of Caduceus: their own code needs a GPU.

What matters here is where their norms stand and what class they are: nn.LayerNorm before each long convolution and each
MLP and at the end, and mamba_ssm's RMSNorm before each bidirectional Mamba and at the end.
"""

import torch
from torch import nn
from torch.nn import functional as F

BASES = 12  # HyenaDNA's vocabulary: A, C, G, T, N and special tokens


class LongConvolution(nn.Module):
    """Hyena's operator of order 2: a short convolution, two gates, and a filter as long as the sequence."""

    def __init__(self, width, length):
        super().__init__()
        self.length = length
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.short = nn.Conv1d(3 * width, 3 * width, 3, padding=2, groups=3 * width)
        self.filter = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, width))
        self.skip = nn.Parameter(torch.randn(width))
        time = torch.linspace(0, 1, length)[:, None]
        self.register_buffer("positions", torch.cat([time, (6.28 * time).sin(), (6.28 * time).cos()], 1))

    def forward(self, x):
        length = x.shape[1]
        gate, value, last = self.short(self.project(x).transpose(1, 2))[..., :length].chunk(3, dim=1)
        decay = torch.exp(-5 * self.positions[:length, :1])
        impulse = (self.filter(self.positions[:length]) * decay).T
        value = value * gate
        spectrum = torch.fft.rfft(value, 2 * length) * torch.fft.rfft(impulse, 2 * length)
        y = torch.fft.irfft(spectrum, 2 * length)[..., :length] + value * self.skip[:, None]
        return self.out((y * last).transpose(1, 2))


class HyenaBlock(nn.Module):
    def __init__(self, width, length):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixer = LongConvolution(width, length)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.mixer(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class HyenaDNA(nn.Module):
    def __init__(self, width=16, layers=2, length=32):
        super().__init__()
        self.embeddings = nn.Embedding(BASES, width)
        self.layers = nn.ModuleList([HyenaBlock(width, length) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, BASES, bias=False)

    def forward(self, tokens):
        x = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.ln_f(x))


class RMSNorm(nn.Module):
    """As mamba_ssm's: a weight, a bias that is there and None."""

    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.register_parameter("bias", None)

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Mamba(nn.Module):
    """A selective state space, step by step."""

    def __init__(self, width, states=4):
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.conv = nn.Conv1d(2 * width, 2 * width, 3, padding=2, groups=2 * width)
        self.select = nn.Linear(2 * width, 2 * width + 2 * states)
        self.log_decay = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(2 * width, 1))
        self.skip = nn.Parameter(torch.ones(2 * width))
        self.states = states

    def forward(self, x):
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        x = F.silu(self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        step, b, c = self.select(x).split([x.shape[-1], self.states, self.states], dim=-1)
        step = F.softplus(step)
        state, outputs = 0.0, []
        for t in range(x.shape[1]):
            decay = torch.exp(-step[:, t, :, None] * torch.exp(self.log_decay))
            state = decay * state + (step[:, t] * x[:, t])[..., None] * b[:, t, None]
            outputs.append((state * c[:, t, None]).sum(-1))
        return self.out_proj((torch.stack(outputs, 1) + self.skip * x) * F.silu(gate))


class CaduceusBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fused_add_norm = False
        self.norm = RMSNorm(width)
        self.forwards, self.backwards = Mamba(width), Mamba(width)
        # The directions share their large matrices, as Caduceus' do.
        self.backwards.in_proj.weight = self.forwards.in_proj.weight
        self.backwards.out_proj.weight = self.forwards.out_proj.weight

    def forward(self, x):
        y = self.norm(x)
        return x + self.forwards(y) + self.backwards(y.flip(1)).flip(1)


class Caduceus(nn.Module):
    def __init__(self, width=16, layers=2):
        super().__init__()
        self.embeddings = nn.Embedding(BASES, width)
        self.layers = nn.ModuleList([CaduceusBlock(width) for _ in range(layers)])
        self.norm_f = RMSNorm(width)
        self.lm_head = nn.Linear(width, BASES, bias=False)

    def forward(self, tokens):
        x = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm_f(x))

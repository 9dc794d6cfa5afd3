"""Derf(x) = weight * erf(alpha * x + shift) + bias: the pointwise replacement of normalization layers, fused.

>>> import torch, derf
>>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.LayerNorm(16))
>>> derf.replace_norm(model)[1]
Derf((16,), alpha_init=0.5, shift_init=0.0)

Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938.
"""

from . import _library

_C = _library.load()  # the pybind11 module, or None where it was not built

from . import callbacks, flops, functional, onnx  # noqa: E402  (these use the operators)
from .calibrate import calibrate  # noqa: E402
from .calibration_report import CalibrationReport  # noqa: E402
from .compile_passes import compile_passes  # noqa: E402
from .config import show_config  # noqa: E402
from .decomposition import decompositions  # noqa: E402
from .fold import FoldReport, fold  # noqa: E402
from .functional import derf  # noqa: E402
from .functions import PointwiseFunction, functions  # noqa: E402
from .fuse import FuseReport, fuse, unfuse  # noqa: E402
from .fused import AddDerf  # noqa: E402
from .health import HealthWarning  # noqa: E402
from .modulated import ModulatedDerf  # noqa: E402
from .modules import Derf, DyT, PointwiseNorm  # noqa: E402
from .monitor import Monitor  # noqa: E402
from .norms import NormSpec, register_norm  # noqa: E402
from .quantized import QuantizedLinear, QuantizedNorm, output_bound  # noqa: E402
from .recompute import recompute_outputs  # noqa: E402
from .replace import replace_norm  # noqa: E402
from .report import Report  # noqa: E402
from .restore import convert_state_dict, restore_norm  # noqa: E402
from .start import start  # noqa: E402
from .weight_decay import no_weight_decay_names, parameter_groups  # noqa: E402

__version__ = _library.distribution().version
__all__ = [
    "AddDerf",
    "CalibrationReport",
    "Derf",
    "DyT",
    "FoldReport",
    "FuseReport",
    "HealthWarning",
    "ModulatedDerf",
    "Monitor",
    "NormSpec",
    "PointwiseFunction",
    "PointwiseNorm",
    "QuantizedLinear",
    "QuantizedNorm",
    "Report",
    "__version__",
    "calibrate",
    "callbacks",
    "compile_passes",
    "convert_state_dict",
    "decompositions",
    "derf",
    "flops",
    "fold",
    "functional",
    "functions",
    "fuse",
    "no_weight_decay_names",
    "onnx",
    "output_bound",
    "parameter_groups",
    "recompute_outputs",
    "register_norm",
    "replace_norm",
    "restore_norm",
    "show_config",
    "start",
    "unfuse",
]

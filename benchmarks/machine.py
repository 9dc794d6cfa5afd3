"""What a figure depends on beside the code. No names of hosts or users, no paths."""

import os
import re
import subprocess
from pathlib import Path

import derf
import torch

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = Path("/sys/devices/system/cpu/cpu0")


def _read(path: str | Path, pattern: str = "(.*)") -> str:
    try:
        return re.search(pattern, Path(path).read_text())[1].strip()
    except (OSError, TypeError):
        return "unknown"


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _cache_bytes() -> int | None:
    """Of the last level, as the processor says (or a hypervisor, which may say more than a guest gets)."""
    sizes = [_read(path, r"(\d+)K") for path in SYSTEM.glob("cache/index*/size")]
    return max((int(size) * 1024 for size in sizes if size.isdigit()), default=None)


def facts() -> dict[str, object]:
    without_paths = re.sub(r"(?<![\w:/])/[^\s,;)]+", "(path)", derf.show_config())
    return {
        "cpu": _read("/proc/cpuinfo", r"model name\s*:(.*)"),
        "cores": len(os.sched_getaffinity(0)),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "last-level cache, bytes": _cache_bytes(),
        "governor": _read(SYSTEM / "cpufreq/scaling_governor"),
        "transparent huge pages": _read("/sys/kernel/mm/transparent_hugepage/enabled", r"\[(\w+)\]"),
        "torch": torch.__version__,
        "commit": _git("describe", "--always", "--dirty", "--exclude", "*"),
        "derf": without_paths.splitlines(),
    }

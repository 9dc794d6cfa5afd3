"""What calibrate costs on ViT-B, in forwards: 25 norms of 768 channels, 8 batches of 8 images, random weights.

python -m benchmarks.starts.cost [sequential] [parallel]
"""

import json
import resource
import sys
import time  # of the processor: one thread, on a machine that others use too
from pathlib import Path

import derf
import timm
import torch

RESULTS = Path(__file__).parent / "results" / "cost.json"


def main() -> None:
    torch.set_num_threads(1)
    batches = [torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    row = {"threads": 1}
    for mode in sys.argv[1:] or ("sequential", "parallel"):
        model = timm.create_model("vit_base_patch16_224").eval()
        with torch.no_grad():
            model(batches[0])
            began = time.process_time()
            for batch in batches:
                model(batch)
        forwards = time.process_time() - began
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        derf.calibrate(model, batches, mode=mode, progress=False)
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        row |= {
            f"{mode}, forwards s": round(forwards, 1), f"{mode} s": round(seconds, 1),
            f"{mode}, of the forwards": round(seconds / forwards, 2),
            f"{mode}, peak above the forwards' MiB": peak // 1024,
        }  # fmt: skip
    print(json.dumps(row, indent=1))
    RESULTS.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()

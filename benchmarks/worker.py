"""One process of the benchmark: reads jobs from standard input, writes a line of JSON for each result.

The allocator and the instruction set of a process are fixed when it starts, so each setting has its own.
"""

import json
import os
import sys
from collections.abc import Iterator

import torch
import torch._functorch.config as functorch_config

from . import machine
from .measure import measure, microseconds
from .memory import held
from .providers import Comparison

Results = Iterator[tuple[str, object]]  # the part of the report, and what to add there


def run(job: dict) -> Results:
    torch.set_num_threads(job["threads"])
    case, whats = job["case"], job["whats"]
    if not job["providers"]:
        from . import models

        yield from models.run(case["name"], whats, job["seconds"])
        return
    if any(name.startswith("compiled") for name in job["providers"]):
        torch.compiler.reset()  # or it would keep the code, and after some shapes compile no more
    compared = Comparison(case["shape"], case["dtype"], job["providers"], case["channels_last"])
    facts = {key: case[key] for key in ("name", "shape", "dtype", "bytes")}
    for note in compared.notes:
        yield "notes", note
    for what in whats:
        if what == "held":
            x, *parameters = compared.arguments
            found = {n: held(lambda n=n: compared.forward(n), x, parameters) for n in compared.names}
            yield "memory", {**facts, "held": found}
        else:
            with torch.inference_mode(what == "inference"):
                timed = measure(compared.timed(what), job["seconds"])
            times = {name: microseconds(measurement) for name, measurement in timed.items()}
            yield "measurements", {**facts, "what": what, "threads": job["threads"], "microseconds": times}


def main() -> None:
    # A retained graph is run more than once, and the compiled one must not write over what it has saved.
    functorch_config.donated_buffer = False
    jobs = json.load(sys.stdin)
    # Whatever a library prints must not come between the results.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1) as results:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        print(json.dumps({"facts": machine.facts()}), file=results)
        for job in jobs:
            for part, result in run(job):
                print(json.dumps({part: result}), file=results)
            print(json.dumps({"done": job["case"]["name"]}), file=results)


if __name__ == "__main__":
    main()

"""How fast Derf is beside its peers and a copy, on the CPU: `python -m benchmarks`, from the repository's root.

`gpu.py` is the counterpart for CUDA devices, a script; `accuracy.py` and `fusion.py` measure other things.
"""

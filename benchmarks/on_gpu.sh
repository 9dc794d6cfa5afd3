#!/bin/bash
# All that needs a CUDA device: tests, compute-sanitizer, benchmark: `benchmarks/on_gpu.sh [OUTPUT DIRECTORY]`, within 8
# minutes. Needs torch, nvcc, cmake, ninja, setuptools, pytest, pytest-xdist, hypothesis and mpmath; no network, and the
# environment stays as it is: derf goes into a directory of its own. With DERF_WHEEL=FILE it installs that wheel, and
# needs no nvcc. Tests and sanitizers run side by side, the benchmark alone. Every step has a time limit, and one that
# fails does not keep the others from running. What a step prints is kept as on_gpu-STEP.log, how all ended as on_gpu.txt.
# tests/test_on_gpu.py runs this file without a GPU.
# shellcheck disable=SC2317 # `step` calls the functions
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m -- "${1:-${OUT:-$root/benchmarks/results}}")
mkdir -p "$out"
cd "$root"
python=$(command -v python3)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Seconds: for everything, and what the steps before the benchmark leave to it.
limit=${DERF_ON_GPU_SECONDS:-460} reserve=110
results=$out/on_gpu.txt
: >"$results"

# name, command: runs it and notes how it ended; a status of 77 says that it was skipped
step() {
  local start=$SECONDS status=0 name=$1 log
  log=$out/on_gpu-$(tr -cs 'a-z0-9\n' - <<<"${name,,}").log
  "${@:2}" >"$log" 2>&1 || status=$?
  printf '\n== %s (from second %d to %d)\n' "$name" "$start" "$SECONDS"
  cat "$log"
  case $status in
    0) echo "passed   $((SECONDS - start)) s  $name" ;;
    77) echo "SKIPPED  $((SECONDS - start)) s  $name" ;;
    124 | 137) echo "FAILED   $((SECONDS - start)) s  $name: not done in time" ;;
    *) echo "FAILED   $((SECONDS - start)) s  $name: exit status $status" ;;
  esac >>"$results"
}

report() {
  printf '\n== after %d s\n' "$SECONDS"
  cat "$results"
  ! grep -q ^FAILED "$results"
}

limited() { # seconds, command
  timeout --kill-after=5 "$@"
}

install() {
  DERF_CUDA=1 limited "$((limit - reserve - 60))" \
    "$python" -m pip install --no-build-isolation --no-deps --no-index --target "$work/site" "${DERF_WHEEL:-.}"
}

left_to_checks() { echo $((limit - reserve - SECONDS)); }

device_tests() {
  local left
  left=$(left_to_checks)
  DERF_TEST_PROFILE=short limited $((left > 60 ? left : 60)) \
    "$python" -m pytest tests -q --device cuda --failures "$out/on_gpu-failures.log" --ignore=tests/test_wheels.py \
    -n "$((($(nproc) + 1) / 2))" --dist worksteal
}

sanitize() { # tool
  local sanitizer left status=0
  left=$(left_to_checks)
  if ((left < 20)); then
    echo "$1 skipped: the steps before took too long"
    return 77
  fi
  sanitizer=$(PATH=$PATH:/usr/local/cuda/bin command -v compute-sanitizer) || {
    echo "$1 skipped: there is no compute-sanitizer in PATH or /usr/local/cuda/bin"
    return 77
  }
  # Without the caching allocator an access beyond a tensor is one beyond an allocation.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 limited $((left > 150 ? 150 : left)) \
    "$sanitizer" --tool "$1" --error-exitcode 99 \
    "$python" -m pytest tests/test_shapes.py --device cuda -k "odd or small" -x -q >"$work/$1.log" 2>&1 || status=$?
  tail -n 40 "$work/$1.log"
  cp "$work/$1.log" "$out/sanitizer-$1.log" # whole
  # No test began: it is not the kernels that it objects to.
  if ((status != 0 && status != 124)) && ! grep -qE '[0-9]+ (passed|failed|error)' "$work/$1.log" &&
    grep -qiE 'not supported|unsupported|unable to|initialization failed|permission' "$work/$1.log"; then
    echo "$1 skipped: compute-sanitizer does not run on this device"
    return 77
  fi
  return "$status"
}

benchmark() {
  local left=$((limit - SECONDS - 20)) # then a case that has begun is finished, and the plots are drawn
  if ((left < 60)); then left=60; fi
  limited $((left + 40)) \
    "$python" benchmarks/gpu.py --out "$out" --seconds $((left > 210 ? 210 : left))
}

step "install" install
report >/dev/null || { # nothing else can run
  report
  exit 1
}
export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
step "python3 -m derf" limited 60 "$python" -m derf
step "tests on the device" device_tests &
for tool in memcheck racecheck initcheck; do
  step "compute-sanitizer $tool" sanitize "$tool" &
done
wait
step "benchmark" benchmark
report

// How long the CUDA kernels of erf take, forward and backward with all gradients, without PyTorch: what tuning them
// needs on a GPU whose minutes are few. In the root of the repository, with nvcc 12 or newer (a minute):
//
//   nvcc -O3 -std=c++20 -arch=native -I csrc benchmarks/gpu_kernels.cu -o gpu_kernels && ./gpu_kernels
//
// Two versions are compared by two such programs, run in turn. Prints the medians in microseconds. Tensors of 8 MiB or
// less: the replay of a CUDA graph of 50 calls, in the L2 cache; larger ones: one call between two events, the cache
// overwritten before. The smallest are compared with float64 first.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "cuda/kernels.cu"
#include "cuda/launch.h"

namespace {

using namespace derf;

constexpr size_t cache_bytes = 256 << 20;  // more than any GPU's L2 cache
constexpr int64_t most_in_cache = 8 << 20, most_checked = 1 << 20;

void check(cudaError_t status) {
  if (status != cudaSuccess) {
    std::fprintf(stderr, "CUDA error: %s\n", cudaGetErrorString(status));
    std::exit(1);
  }
}
void check(const char* error) {
  if (error) {
    std::fprintf(stderr, "derf: CUDA error: %s\n", error);
    std::exit(1);
  }
}

float as_float(float x) { return x; }
float as_float(BFloat16 x) { return __builtin_bit_cast(float, uint32_t(x.bits) << 16); }
template <class T>
T rounded(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    const auto bits = __builtin_bit_cast(uint32_t, x);
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
  }
}

// Memory of the device, and what was put there.
template <class T>
struct Buffer {
  T* data;
  std::vector<float> values;

  explicit Buffer(int64_t size, float mean = 0, float deviation = 0) : values(size) {
    check(cudaMalloc(&data, size * sizeof(T)));
    std::mt19937 random(1);
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<T> host(size);
    for (int64_t i = 0; i < size; ++i) {
      host[i] = rounded<T>(i < most_checked ? normal(random) : values[i - most_checked]);
      values[i] = as_float(host[i]);
    }
    check(cudaMemcpy(data, host.data(), size * sizeof(T), cudaMemcpyHostToDevice));
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { cudaFree(data); }

  std::vector<float> read() const {
    std::vector<T> host(values.size());
    check(cudaMemcpy(host.data(), data, host.size() * sizeof(T), cudaMemcpyDeviceToHost));
    std::vector<float> found;
    for (T x : host) {
      found.push_back(as_float(x));
    }
    return found;
  }
};

// The median of a call's microseconds.
float time_of(const std::function<void()>& call, bool in_cache, void* cache, cudaStream_t stream) {
  constexpr int rounds = 15, calls = 50;
  cudaEvent_t start, end;
  check(cudaEventCreate(&start));
  check(cudaEventCreate(&end));
  call();
  cudaGraphExec_t replay = nullptr;
  if (in_cache) {
    cudaGraph_t graph;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    for (int i = 0; i < calls; ++i) {
      call();
    }
    check(cudaStreamEndCapture(stream, &graph));
    check(cudaGraphInstantiate(&replay, graph, 0));
  }
  std::vector<float> times(rounds);
  for (float& time : times) {
    if (!in_cache) {
      check(cudaMemsetAsync(cache, 0, cache_bytes, stream));
    }
    check(cudaEventRecord(start, stream));
    in_cache ? check(cudaGraphLaunch(replay, stream)) : call();
    check(cudaEventRecord(end, stream));
    check(cudaStreamSynchronize(stream));
    check(cudaEventElapsedTime(&time, start, end));
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return 1000 * times[rounds / 2] / (in_cache ? calls : 1);
}

template <class T>
void measure(const char* name, Type type, int64_t rows, int64_t channels, void* cache, cudaStream_t stream) {
  const int64_t size = rows * channels;
  const Buffer<T> input(size, 0, 1), grad_output(size, 0, 1), alpha(1, 0.5), shift(1, 0.1), weight(channels, 1, 0.1),
      bias(channels, 0, 0.1), output(size), grad_input(size), grad_alpha(1), grad_shift(1), grad_weight(channels),
      grad_bias(channels);
  const auto common = [&](Call& call) {
    call.type = type;
    call.shape = {1, rows, channels, 1};
    call.input = input.data;
    call.alpha = {alpha.data, type};
    call.shift = {shift.data, type};
    call.weight = {weight.data, type, 0};
    call.bias = {bias.data, type, 0};
    call.function = Function::erf;
  };
  Forward forward{};
  common(forward);
  forward.output = output.data;
  Backward backward{};
  common(backward);
  backward.grad_output = grad_output.data;
  backward.grad_input = grad_input.data;
  backward.grad_alpha = {grad_alpha.data, type};
  backward.grad_shift = {grad_shift.data, type};
  backward.grad_weight = {grad_weight.data, type};
  backward.grad_bias = {grad_bias.data, type};
  void* workspace;
  check(cudaMalloc(&workspace, cuda::kernels.workspace_bytes(backward) + 1));
  const auto run_forward = [&] { check(cuda::kernels.forward(forward, stream)); };
  const auto run_backward = [&] { check(cuda::kernels.backward(backward, workspace, stream)); };
  run_forward();
  run_backward();
  check(cudaStreamSynchronize(stream));
  if (size <= most_checked) {
    const auto y = output.read(), dx = grad_input.read(), dw = grad_weight.read();
    std::vector<double> sums(channels), magnitudes(channels);
    double worst = 0;
    for (int64_t i = 0; i < size; ++i) {
      const int64_t channel = i % channels;
      const double u = double(alpha.values[0]) * input.values[i] + shift.values[0], g = grad_output.values[i];
      const double slope = 2 / std::sqrt(std::acos(-1.)) * std::exp(-u * u), w = weight.values[channel];
      worst = std::fmax(worst, std::fabs(y[i] - (w * std::erf(u) + bias.values[channel])));
      worst = std::fmax(worst, std::fabs(dx[i] - g * w * slope * alpha.values[0]));
      sums[channel] += g * std::erf(u);
      magnitudes[channel] += std::fabs(g * std::erf(u));
    }
    for (int64_t i = 0; i < channels; ++i) {
      worst = std::fmax(worst, std::fabs(dw[i] - sums[i]) / magnitudes[i]);
    }
    // Half a unit in the last place of values below 4, and what float32 arithmetic loses.
    if (!(worst <= (sizeof(T) == 2 ? 0x1p-7 : 1e-5))) {
      std::printf("%s %lld x %lld is wrong by %g\n", name, (long long)rows, (long long)channels, worst);
      std::exit(1);
    }
  }
  const bool in_cache = size * int64_t(sizeof(T)) <= most_in_cache;
  std::printf("%s %6lld x %-5lld %s forward %7.2f  backward %7.2f\n", name, (long long)rows, (long long)channels,
              in_cache ? "cached" : "      ", time_of(run_forward, in_cache, cache, stream),
              time_of(run_backward, in_cache, cache, stream));
  std::fflush(stdout);
  check(cudaFree(workspace));
}

}  // namespace

int main() {
  void* cache;
  cudaStream_t stream;
  check(cudaMalloc(&cache, cache_bytes));
  check(cudaStreamCreate(&stream));
  for (auto [rows, channels] : {std::pair{1, 768},
                                {1024, 768},
                                {2048, 1152},
                                {3992, 768},
                                {8192, 768},
                                {12608, 768},
                                {2048, 4096},
                                {8192, 4096},
                                {8192, 16384}}) {
    measure<BFloat16>("bfloat16", Type::bf16, rows, channels, cache, stream);
    measure<float>("float32 ", Type::f32, rows, channels, cache, stream);
  }
}

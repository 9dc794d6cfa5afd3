// Threads that call the operators at once, for ThreadSanitizer: the first calls of the process, graphs and parameters
// that threads share, and grad modes that each thread changes for itself. Every thread must find the same bits.
#include <ATen/ATen.h>
#include <derf/operators.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

// torch's libraries are not compiled with the sanitizer: it does not see the atomic operations by which they order
// what they do, nor locks of theirs that end in torch's inline code; and threads that use one parameter all set its
// node's `has_parent_`. All of this is torch's own; nothing of derf is named.
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libtorch_cpu.so\n"
         "called_from_lib:libc10.so\n"
         "mutex:libtorch_\n"
         "mutex:torch::detail::TorchLibraryInit\n"
         "race:torch::autograd::Node::set_next_edges\n";
}

namespace {

using at::Tensor;

constexpr int THREADS = 8, ROUNDS = 20;

// Runs it in all threads, which begin together.
void at_once(const std::function<void(int)>& work) {
  std::atomic<int> waiting{THREADS};
  std::vector<std::thread> threads;
  for (int i = 0; i < THREADS; ++i) {
    threads.emplace_back([&, i] {
      --waiting;
      while (waiting.load() > 0) {
      }
      work(i);
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
}

struct Parameters {
  Tensor alpha, shift, weight, bias;

  std::vector<Tensor> all() const { return {alpha, shift, weight, bias}; }
};

Parameters parameters(int64_t channels, bool requires_grad) {
  const auto values = [&](int64_t n, double from, double to) {
    return at::linspace(from, to, n).requires_grad_(requires_grad);
  };
  return {values(1, 0.7, 0.7), values(1, 0.1, 0.1), values(channels, 0.5, 1.5), values(channels, -1, 1)};
}

Tensor input(int64_t rows, int64_t channels, at::ScalarType dtype = at::kFloat) {
  return at::linspace(-3, 3, rows * channels).reshape({rows, channels}).to(dtype);
}

// Every operator's forward, and an error.
std::vector<Tensor> forwards(const Parameters& p, const Tensor& x) {
  const auto& [alpha, shift, weight, bias] = p;
  std::vector<Tensor> results{derf::derf(x, alpha, shift, weight, bias)};
  for (const char* function : {"tanh", "arctan", "power23"}) {
    results.push_back(derf::pointwise_norm(x, alpha, shift, weight, bias, {.function = function}));
  }
  auto [output, sum] = derf::add_pointwise_norm(x, x, alpha, shift, weight, bias);
  results.insert(results.end(), {output, sum});
  Tensor out = at::empty_like(x);
  results.push_back(derf::derf_out(out, x, alpha, shift, weight, bias));
  bool refused = false;
  try {
    derf::derf(x, alpha.to(at::kInt), shift);
  } catch (const c10::Error&) {
    refused = true;
  }
  TORCH_CHECK(refused, "alpha of integers was taken");
  return results;
}

std::vector<Tensor> gradients(const Tensor& output, const std::vector<Tensor>& of, bool retain_graph) {
  return torch::autograd::grad({output}, of, {at::ones_like(output)}, retain_graph);
}

int differ(const std::vector<std::vector<Tensor>>& found) {
  int wrong = 0;
  for (const auto& each : found) {
    for (size_t i = 0; i < each.size(); ++i) {
      wrong += !each[i].equal(found[0][i]);
    }
  }
  return wrong;
}

// All of it in one round, in a thread: what it computes is the same in each thread and round.
std::vector<Tensor> round(const Parameters& p, const Tensor& x, const Tensor& shared_output) {
  std::vector<Tensor> results;
  {
    const at::NoGradGuard guard;
    results = forwards(p, x);
  }
  {
    const c10::InferenceMode guard;
    forwards(p, x);
  }
  for (const Tensor& gradient : gradients(shared_output, p.all(), /*retain_graph=*/true)) {
    results.push_back(gradient);
  }
  const Tensor leaf = x.detach().requires_grad_();
  auto inputs = p.all();
  inputs.push_back(leaf);
  const auto own = gradients(derf::pointwise_norm(leaf, p.alpha, p.shift, p.weight, p.bias), inputs, false);
  results.insert(results.end(), own.begin(), own.end());
  const auto [output, sum] = derf::add_pointwise_norm(leaf, leaf, p.alpha, p.shift, p.weight, p.bias);
  const auto added = gradients(output + sum, inputs, false);
  results.insert(results.end(), added.begin(), added.end());
  derf::derf(leaf, p.alpha, p.shift, p.weight, p.bias).sum().backward();  // adds to .grad of what threads share
  return results;
}

}  // namespace

int main() {
  std::vector<std::vector<Tensor>> found(THREADS);
  // The first calls: kernels are chosen, operators looked up, memory's facts read.
  at_once([&](int thread) { found[thread] = forwards(parameters(100, false), input(7, 100)); });
  int wrong = differ(found);

  for (const auto& x : {input(5, 33), input(1100, 1000), input(9, 64, at::kBFloat16)}) {
    const Parameters p = parameters(x.size(1), true);
    const Tensor shared = derf::derf(x, p.alpha, p.shift, p.weight, p.bias);
    const int rounds = x.numel() > 100'000 ? 2 : ROUNDS;
    at_once([&](int thread) {
      for (int i = 0; i < rounds; ++i) {
        found[thread] = round(p, x, shared);
      }
    });
    wrong += differ(found);
    const auto once = gradients(derf::derf(x, p.alpha, p.shift, p.weight, p.bias), p.all(), false);
    for (size_t i = 0; i < once.size(); ++i) {
      wrong += !p.all()[i].grad().allclose(once[i] * (THREADS * rounds), 1e-3, 1e-3);
    }
  }
  std::printf("%d results that differ between threads\n", wrong);
  return wrong != 0;
}

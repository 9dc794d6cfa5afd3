// The NEON kernels that serve derf.derf, alone: all of them take minutes to compile.
#include "../../csrc/cpu/backward.h"
#include "calls.h"

namespace {

using namespace derf;
using namespace derf::NEON;

template <class T>
cpu::Task task(const Tensors<T>& t) {
  constexpr Type type = std::is_same_v<T, float> ? Type::f32 : Type::bf16;
  return {.type = type,
          .param_type = type,
          .shape = {1, t.rows, t.channels, 1},
          .input = t.input,
          .alpha = 0.5,
          .shift = 0.1,
          .alphas = nullptr,
          .shifts = nullptr,
          .weight = {t.weight, 0, -1},
          .bias = {t.bias, 0, -1},
          .weight_offset = 0,
          .function = Function::erf,
          .study = {},
          .adds = false,
          .sum_type = type,
          .gate = {},
          .prefetch = false,
          .out_of_cache = false};
}

template <class T>
void run_forward(const Tensors<T>& t) {
  const cpu::ForwardTask call{task(t), t.output, nullptr, nullptr, nullptr, {}, {}};
  forward<Fixed<Erf<T>, T>, T, Plain<T>, Whole<T>>(call, 0, call.shape.numel());
}

template <class T>
void run_backward(const Tensors<T>& t) {
  double alpha[1], shift[1];
  const Type type = task(t).type;
  const auto sums = [&](void* result, void* partial) { return cpu::Sums{{result, type}, partial}; };
  const cpu::BackwardTask call{task(t),
                               {{1, t.rows, t.channels, 1}, {1, 1, 1, 1}},
                               t.grad_output,
                               t.output,
                               sums(alpha, alpha),
                               sums(shift, shift),
                               sums(t.grad_weight, nullptr),
                               sums(t.grad_bias, nullptr),
                               nullptr,
                               nullptr,
                               nullptr,
                               {}};
  backward<Fixed<Erf<T>, T>, T, Plain<T>>(call, 0, 1);
}

}  // namespace

extern "C" {
void derf_forward_float32(const Tensors<float>& t) { run_forward(t); }
void derf_forward_bfloat16(const Tensors<c10::BFloat16>& t) { run_forward(t); }
void derf_backward_float32(const Tensors<float>& t) { run_backward(t); }
void derf_backward_bfloat16(const Tensors<c10::BFloat16>& t) { run_backward(t); }
}

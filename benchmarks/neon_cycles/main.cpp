// Calls the loops twice: main.cpp <rows> <channels>. What is counted is the second call.
#include <cstdlib>
#include <vector>

#include "calls.h"

#define CALLS(X) X(layer_norm_forward) X(layer_norm_backward) X(derf_forward) X(derf_backward)
#define DECLARE(name)                                    \
  extern "C" void name##_float32(const Tensors<float>&); \
  extern "C" void name##_bfloat16(const Tensors<c10::BFloat16>&);
CALLS(DECLARE)

template <class T>
void run(int64_t rows, int64_t channels, std::initializer_list<void (*)(const Tensors<T>&)> calls) {
  std::vector<T> input(rows * channels), grad(rows * channels), output(rows * channels), weight(channels, T(1.5f)),
      bias(channels, T(0.5f)), grad_weight(channels), grad_bias(channels);
  std::vector<float> mean(rows), scale(rows);
  for (int64_t i = 0; i < rows * channels; ++i) {
    input[i] = T(float(i * 37 % 101) / 25 - 2);
    grad[i] = T(float(i * 53 % 97) / 48 - 1);
  }
  for (const auto call : calls) {
    for (int i = 0; i < 2; ++i) {
      call({rows, channels, input.data(), grad.data(), weight.data(), bias.data(), output.data(), grad_weight.data(),
            grad_bias.data(), mean.data(), scale.data()});
    }
  }
}

int main(int, char** arguments) {
  const int64_t rows = std::atoll(arguments[1]), channels = std::atoll(arguments[2]);
#define FLOAT32(name) &name##_float32,
#define BFLOAT16(name) &name##_bfloat16,
  run<float>(rows, channels, {CALLS(FLOAT32)});
  run<c10::BFloat16>(rows, channels, {CALLS(BFLOAT16)});
}

// output = weight * f(alpha * input + shift) + bias, one pass.
#pragma once
#include "lanes.cuh"

namespace derf::cuda {

struct ForwardTuning {
  static constexpr int threads = 256, unroll = 4, blocks = 16, most_rows = 16;
};

template <template <class> class F, class T, class P, int width, bool by_channel>
__global__ void __launch_bounds__(ForwardTuning::threads) forward_kernel(Forward call, Tiles tiles) {
  using Number = NumberOf<T>;
  constexpr int unroll = ForwardTuning::unroll;
  const Place place(tiles, width);
  if (!place.rows) {
    return;
  }
  const Number alpha = read<Number>(call.alpha), shift = read<Number>(call.shift);
  constexpr int channels = by_channel ? 1 : width;
  Number weight[channels], bias[channels];
  read_channels<by_channel, P>(call.weight, place, call.shape.inner, Number(1), weight);
  // -0 is what leaves every number as it is when added, 0 included
  read_channels<by_channel, P>(call.bias, place, call.shape.inner, -Number(0), bias);
  const T* input = static_cast<const T*>(call.input) + place.offset;
  T* output = static_cast<T*>(call.output) + place.offset;
  const auto one_row = [&](const Loaded<T, width>& packet, T* to) {
    Numbers<T, width> x;
    widen<T, width>(packet, x);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const int c = by_channel ? 0 : i;
      x[i] = std::fma(weight[c], F<T>::value(std::fma(alpha, x[i], shift)), bias[c]);
    }
    store<T, width>(to, x);
  };
  uint32_t row = 0;
  for (; row + unroll <= place.rows; row += unroll) {
    Loaded<T, width> packets[unroll];
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      packets[k] = load<T, width>(input + k * place.step);
    }
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      one_row(packets[k], output + k * place.step);
    }
    input += unroll * place.step;
    output += unroll * place.step;
  }
#pragma unroll 1
  for (; row < place.rows; ++row) {
    one_row(load<T, width>(input), output);
    input += place.step;
    output += place.step;
  }
}

}  // namespace derf::cuda

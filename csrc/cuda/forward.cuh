// output = weight * f(alpha * x + shift) + bias, one pass.
#pragma once
#include "applied.cuh"
#include "input.cuh"
#include "output.cuh"

namespace derf::cuda {

template <class Applied>
struct ForwardTuning {
  static constexpr bool is_double = std::is_same_v<typename Applied::T, double>;
  static constexpr int threads = 256,
                       unroll = !Applied::is_general ? 4
                                : is_double          ? 1
                                                     : 2,
                       blocks = 16, most_rows = 16;
};

template <class Applied, int width, bool by_channel, class In, class Out>
__global__ void __launch_bounds__(ForwardTuning<Applied>::threads)
    forward_kernel(Forward call, Tiling tiling, typename Applied::Options options) {
  using T = typename Applied::T;
  using Number = opmath_t<T>;
  constexpr int unroll = ForwardTuning<Applied>::unroll;
  const ThreadTile tile = ThreadTile::of < Applied::is_general || In::adds > (tiling, width);
  if (!tile.rows) {
    return;
  }
  const Channels<by_channel> of(tile, call.shape.inner);
  const typename Applied::template Column<width, by_channel> column(call, options, of);
  constexpr int channels = by_channel ? 1 : width;
  Number weight[channels], bias[channels];
  of.template read<T>(call.weight, tile.group, Number(1), weight);
  // -0 is what leaves every number as it is when added, 0 included
  of.template read<T>(call.bias, tile.group, -Number(0), bias);
#pragma unroll
  for (Number& w : weight) {
    w = column.weight(w);
  }
  typename In::template Source<width, by_channel> source(call, tile, of);
  typename Out::template Output<width, by_channel> output(call, tile, of);
  const auto one_row = [&](const auto& packet, int64_t at) {
    Numbers<T, width> x;
    source.take(packet, at, x);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      x[i] = column.preactivation(x[i], i);
    }
    column.value(x);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const int c = by_channel ? 0 : i;
      x[i] = std::fma(weight[c], x[i], bias[c]);
    }
    output.store(at, x);
  };
  uint32_t row = 0;
  for (; row + unroll <= tile.rows; row += unroll) {
    typename In::template Source<width, by_channel>::Packet packets[unroll];
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      packets[k] = source.load(k * tile.step);
    }
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      one_row(packets[k], k * tile.step);
    }
    source.advance(unroll * tile.step);
    output.advance(unroll * tile.step);
  }
  if constexpr (unroll > 1) {
#pragma unroll 1
    for (; row < tile.rows; ++row) {
      one_row(source.load(0), 0);
      source.advance(tile.step);
      output.advance(tile.step);
    }
  }
}

}  // namespace derf::cuda

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
                       blocks = 16, most_rows = 16, least_rows = 64, one_block = 0;
};

template <class Applied, int width, class In, class Out>
__global__ void __launch_bounds__(ForwardTuning<Applied>::threads)
    forward_kernel(Forward call, Tiling tiling, typename Applied::Options options) {
  using T = typename Applied::T;
  using Number = opmath_t<T>;
  constexpr int unroll = ForwardTuning<Applied>::unroll;
  const ThreadTile tile = ThreadTile::of(tiling, width);
  if (!tile.rows) {
    return;
  }
  const Channels of(tile, tiling, width);
  const typename Applied::template Column<width> column(call, options, of);
  Number weight[width], bias[width];
  of.template read<T>(call.weight, tile.group, Number(1), weight);
  // -0 is what leaves every number as it is when added, 0 included
  of.template read<T>(call.bias, tile.group, -Number(0), bias);
#pragma unroll
  for (Number& w : weight) {
    w += options.weight_offset;
  }
  typename In::template Source<width> source(call, tile, of);
  typename Out::template Output<width> output(call, tile, of);
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
      x[i] = std::fma(weight[i], x[i], bias[i]);
    }
    output.store(at, x);
  };
  const int64_t step = Applied::is_general ? tiling.step : tile.step;  // read anew it takes no registers
  uint32_t row = 0;
  for (; row + unroll <= tile.rows; row += unroll) {
    typename In::template Source<width>::Packet packets[unroll];
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      packets[k] = source.load(k * step);
    }
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      one_row(packets[k], k * step);
    }
    source.advance(unroll * step);
    output.advance(unroll * step);
  }
  if constexpr (unroll > 1) {
#pragma unroll 1
    for (; row < tile.rows; ++row) {
      one_row(source.load(0), 0);
      source.advance(step);
      output.advance(step);
    }
  }
}

}  // namespace derf::cuda

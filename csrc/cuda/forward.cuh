// output = weight * f(alpha * x + shift) + bias, one pass.
#pragma once
#include "applied.cuh"
#include "input.cuh"
#include "output.cuh"

namespace derf::cuda {

// Measured on an H100. Four blocks of a plain kernel find room on a multiprocessor: the fastest are blocks that all
// find room at once where a thread then has 16 rows or fewer, and else many blocks of 4 rows. Loads that are under way
// before the parameters are there gain most where a thread has few rows; with 8 bits out the registers are worth more.
template <class Applied, class In, class Out>
struct ForwardTuning {
  static constexpr bool is_double = std::is_same_v<typename Applied::T, double>;
  static constexpr bool is_fixed = !Applied::is_general && !is_double;
  static constexpr bool is_plain = is_fixed && !In::adds && Out::is_whole, loads_early = Out::is_whole;
  // registers_for: so many blocks of a multiprocessor are to find registers.
  static constexpr int threads = 256,
                       unroll = is_double && Applied::is_general ? 1
                                : is_fixed && !Out::is_whole     ? 4
                                                                 : 2,
                       blocks = is_plain ? 4 : 16,
                       registers_for = is_plain                                ? 4
                                       : is_fixed && In::adds && Out::is_whole ? 3
                                                                               : 1,
                       wave_rows = 16, most_rows = is_plain ? 4 : 16, least_rows = 64, one_block = 0;
};

template <class Applied, int width, class In, class Out>
__global__ void __launch_bounds__(ForwardTuning<Applied, In, Out>::threads,
                                  ForwardTuning<Applied, In, Out>::registers_for)
    forward_kernel(Forward call, Tiling tiling, typename Applied::Options options) {
  using T = typename Applied::T;
  using Number = opmath_t<T>;
  using Tuning = ForwardTuning<Applied, In, Out>;
  constexpr int unroll = Tuning::unroll;
  const ThreadTile tile = ThreadTile::of(tiling, width);
  if (!tile.rows) {
    return;
  }
  const Channels of(tile, tiling, width);
  typename In::template Source<width> source(call, tile, of);
  const int64_t step = Applied::is_general ? tiling.step : tile.step;  // read anew it takes no registers
  typename In::template Source<width>::Packet packets[unroll];
  const auto load = [&] {
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      packets[k] = source.load(k * step);
    }
  };
  uint32_t rows = tile.rows;
  if (Tuning::loads_early && rows >= unroll) {
    load();
  }
  // All of these loads are under way before the first is waited for.
  typename Applied::template Column<width> column(call, options, of);
  auto weight = of.template fetch<T, width>(call.weight, tile.group, Number(1));
  auto bias = of.template fetch<T, width>(call.bias, tile.group, -Number(0));  // -0 leaves 0 as it is
  typename Out::template Output<width> output(call, tile, of);
  column.unpack();
  weight.unpack();
  bias.unpack();
#pragma unroll
  for (Number& w : weight.values) {
    w += options.weight_offset;
  }
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
      x[i] = std::fma(weight.values[i], x[i], bias.values[i]);
    }
    output.store(at, x);
  };
  while (rows >= unroll) {
    if (!Tuning::loads_early) {
      load();
    }
#pragma unroll
    for (int k = 0; k < unroll; ++k) {
      one_row(packets[k], k * step);
    }
    source.advance(unroll * step);
    output.advance(unroll * step);
    rows -= unroll;
    if (Tuning::loads_early && rows >= unroll) {
      load();
    }
  }
  if constexpr (unroll > 1) {
#pragma unroll 1
    for (; rows != 0; --rows) {
      one_row(source.load(0), 0);
      source.advance(step);
      output.advance(step);
    }
  }
}

}  // namespace derf::cuda

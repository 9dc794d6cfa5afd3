// All gradients in one pass over x (input, or a sum) and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g weight f'(u);  the gradient of x is alpha h;  grad_alpha = sum h x;  grad_shift = sum h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all that share the parameter.
// A thread sums its column's rows, a block its threads' sums (sums.cuh), and a second kernel the blocks' in double
// (reduce.cuh): no atomics, the same bits every time. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include "applied.cuh"
#include "input.cuh"
#include "sums.cuh"

namespace derf::cuda {

// Whether 80 registers, those of three blocks on a multiprocessor, are too few.
template <class Applied>
constexpr bool needs_registers = Applied::is_general || std::is_same_v<typename Applied::T, double>;
template <class T>
constexpr bool needs_registers<Fixed<Tanh, T>> = true;

template <class Applied, class In>
struct BackwardTuning {
  static constexpr bool is_double = std::is_same_v<typename Applied::T, double>;  // functions of many registers
  static constexpr int threads = 256, unroll = is_double || Applied::is_general || In::is_mixed ? 1 : 2,
                       blocks = needs_registers<Applied> || In::adds ? 2 : 3, wave_rows = 512, most_rows = 512,
                       least_rows = 64, one_block = 4 * threads;
};

// Whether a tile's place is found anew at the end, rather than kept through the loop. That saves ptxas spills (on
// sm_120), but costs erf's loop over rows moves (on sm_90), and there is room there.
template <class Applied, class In>
constexpr bool finds_place_anew = true;
template <class T>
constexpr bool finds_place_anew<Fixed<Erf, T>, Plain<T>> = false;

template <class Applied, int width, class In>
__global__ void __launch_bounds__(BackwardTuning<Applied, In>::threads, BackwardTuning<Applied, In>::blocks)
    backward_kernel(Backward call, Tiling tiling, typename Applied::Options options,
                    Partials<typename Applied::Number> partials) {
  using T = typename Applied::T;
  using Number = opmath_t<T>;
  using Column = typename Applied::template Column<width>;
  using Gradient = typename In::template Gradient<width>;
  constexpr int threads = BackwardTuning<Applied, In>::threads, unroll = BackwardTuning<Applied, In>::unroll;
  using BlockSums = Sums<Number, width, Column::scalars, Gradient::gate_sums, threads>;
  __shared__ typename BlockSums::Memory shared;
  let_next_start();
  BlockSums sums(shared);
  const ThreadTile tile = ThreadTile::of(tiling, width);
  if (tile.rows) {
    const Channels of(tile, tiling, width);
    const auto* grad_output = static_cast<const T*>(call.grad_output);
    int64_t at = tile.offset;
    Column column(call, options, of);
    auto weight = of.template fetch<T, width>(call.weight, tile.group, Number(1));
    const Gradient of_input(call, tile, of);
    column.unpack();
    weight.unpack();
#pragma unroll
    for (Number& w : weight.values) {
      w += options.weight_offset;
    }
    const auto one_row = [&](const Loaded<T, width>& grad_packet, const auto& packet, int64_t to) {
      Numbers<T, width> g, x, u, value, slope;
      widen<T, width>(grad_packet, g);
      of_input.take(packet, x);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        u[i] = column.preactivation(x[i], i);
      }
      column.gradient(u, value, slope);
      Number alpha_sums[Column::scalars], shift_sums[Column::scalars];
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const int k = Column::scalars == 1 ? 0 : i;
        const bool dead = slope[i] == 0;
        const Number h = dead ? 0 : g[i] * weight.values[i] * slope[i];
        sums.own[BlockSums::weight + i] = std::fma(g[i], value[i], sums.own[BlockSums::weight + i]);
        sums.own[BlockSums::bias + i] += g[i];
        const Number x_if_alive = dead ? 0 : x[i];
        if (i < Column::scalars) {
          alpha_sums[k] = h * x_if_alive;
          shift_sums[k] = h;
        } else {
          alpha_sums[k] = std::fma(h, x_if_alive, alpha_sums[k]);
          shift_sums[k] += h;
        }
        x[i] = column.times_alpha(h, dead, i);
      }
#pragma unroll
      for (int k = 0; k < Column::scalars; ++k) {
        sums.own[BlockSums::alpha + k] += alpha_sums[k];
        sums.own[BlockSums::shift + k] += shift_sums[k];
      }
      of_input.finish(x, packet, to, sums.own + BlockSums::gate);
    };
    const int64_t step = tile.step;
    uint32_t rows_left = tile.rows;
    if constexpr (unroll == 1) {  // one counter alone: there are no registers left
#pragma unroll 1
      for (; rows_left != 0; --rows_left, at += step) {
        one_row(load<T, width>(grad_output + at), of_input.load(at), at);
        if (rows_left % BlockSums::rows == 1) {
          sums.flush_to_shared();
        }
      }
    } else {
      while (rows_left >= unroll) {
        uint32_t rows = rows_left < BlockSums::rows ? rows_left / unroll * unroll : BlockSums::rows;
        rows_left -= rows;
#pragma unroll 1
        for (; rows != 0; rows -= unroll, at += unroll * step) {
          Loaded<T, width> g[unroll];
          typename Gradient::Packet x[unroll];
#pragma unroll
          for (int k = 0; k < unroll; ++k) {
            g[k] = load<T, width>(grad_output + at + k * step);
            x[k] = of_input.load(at + k * step);
          }
#pragma unroll
          for (int k = 0; k < unroll; ++k) {
            one_row(g[k], x[k], at + k * step);
          }
        }
        sums.flush_to_shared();
      }
#pragma unroll 1
      for (; rows_left != 0; --rows_left, at += step) {
        one_row(load<T, width>(grad_output + at), of_input.load(at), at);
      }
      sums.flush_to_shared();
    }
  }
  // Where alpha and shift have one element, their sums of a thread, and then of a block, become one.
  const bool scalars_per_channel = Applied::is_general && call.alpha_per_channel;
  if (!scalars_per_channel) {
    sums.template join_all<Column::scalars>(BlockSums::alpha);
    sums.template join_all<Column::scalars>(BlockSums::shift);
  }
  ThreadTile place = tile;
  if constexpr (finds_place_anew<Applied, In>) {
    place = ThreadTile::again(tiling, width);
  }
  const ChannelSums<BlockSums, width> of_channels(sums, tiling, place);
  of_channels.write(BlockSums::weight, {{partials.weight, call.grad_weight}, {partials.bias, call.grad_bias}});
  if constexpr (In::adds) {
    of_channels.write(BlockSums::gate, {{partials.gate, call.grad_gate}});
  }
  if (scalars_per_channel) {
    of_channels.write(BlockSums::alpha, {{partials.alpha, call.grad_alpha}, {partials.shift, call.grad_shift}});
  } else if (threadIdx.x == 0) {
    const Sum<Number> alpha{partials.alpha, call.grad_alpha}, shift{partials.shift, call.grad_shift};
    alpha.write(blockIdx.x, 0, shared[BlockSums::alpha][0]);
    shift.write(blockIdx.x, 0, shared[BlockSums::shift][0]);
  }
}

}  // namespace derf::cuda

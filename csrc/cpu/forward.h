// output = weight * f(alpha * x + shift) + bias, one pass, for a range of elements in the order of memory.
#pragma once
#include "applied.h"
#include "input.h"
#include "output.h"

namespace derf::CPU_CAPABILITY {

// Elements [0, n) from `at` on, of `rows` rows, `stride` apart. Those of a row belong to channels from `channel` on
// (per_element), or all to that one.
template <class Applied, int rows, bool per_element, class In, class Out, class P, class T = typename Applied::T>
inline void forward_run(const cpu::ForwardTask& task, int64_t at, int64_t stride, int64_t group,
                        ParameterRow<P> weights, ParameterRow<P> biases, int64_t channel, int64_t n) {
  using V = Vec<opmath_t<T>>;
  const Applied applied(task, value_unit<Applied>, per_element ? -1 : channel);
  const typename In::Source source(task, at, stride, group, per_element ? -1 : channel);
  const Out out(task, at, stride, per_element ? -1 : channel);
  const int64_t ahead = std::max(rows * stride, 4096 / int64_t(sizeof(T)));  // past the rows at hand, a page at least
  const auto shared = [&](const ParameterRow<P>& row) {
    return broadcast<T>(per_element ? 0 : row.template one<T>(channel));
  };
  const Chunk<T> shared_weight = shared(weights), shared_bias = shared(biases);
  typename Applied::template Stretch<rows> prepared;
  typename Out::Waiting waiting;
  const auto step = [&](int64_t i, int64_t count, int64_t in_stretch) __attribute__((always_inline)) {
    Block<T, rows> x;
    for (int r = 0; r < rows; ++r) {
      set_row(x, r, source.template load_row<Applied::is_general>(r, i, channel + i, count, ahead));
    }
    const auto f = applied.value(x, channel + i, count, prepared, in_stretch);
    const Chunk<T> w = per_element ? weights.template load<T>(channel + i, count) : shared_weight;
    const Chunk<T> b = per_element ? biases.template load<T>(channel + i, count) : shared_bias;
    for (int r = 0; r < rows; ++r) {
      const auto affine = [&](V y, V each_w, V each_b) { return fmadd(y, applied.weight(each_w), each_b); };
      out.template store_row<brings_any_nan<P>>(waiting, r, i, i - in_stretch, channel + i, count,
                                                each(affine, row(f, r), w, b));
    }
  };
  const int64_t aligned = out.unaligned(n);
  for (int64_t i = 0; i < n;) {
    const int64_t first = i, end = i < aligned ? aligned : i + std::min({n - i, Applied::stretch, Out::stretch});
    if constexpr (Applied::is_general) {
      source.template prepare<rows>(i, channel + i, end);
    }
    applied.prepare_value(prepared, source.x + i, stride, channel + i, end - i);
    for (; i + chunk_size<T> <= end; i += chunk_size<T>) {
      step(i, chunk_size<T>, i - first);
    }
    if (i < end) {
      step(i, end - i, i - first);
      i = end;
    }
    out.template finish<rows>(waiting, first, end);
  }
}

template <class Applied, class P, class In, class Out>
void forward(const cpu::ForwardTask& task, int64_t begin, int64_t end) {
  const auto [groups, rows, channels, inner] = task.shape;
  const bool in_rows = task.shape.in_rows();
  int64_t c = begin / inner % channels, within = begin % inner;  // where the next stretch begins
  int64_t row = begin / (inner * channels);
  while (begin < end) {
    const int64_t group = groups == 1 ? 0 : row / rows;
    const ParameterRow<P> weight(task.weight, task.param_type, group), bias(task.bias, task.param_type, group);
    const int64_t n = std::min(in_rows ? channels - c : inner - within, end - begin);
    if constexpr (In::rows_per_step > 1 && Out::template has_many_rows<Applied>) {
      const bool whole = in_rows && n == channels && end - begin >= rows_per_step * n;
      if (whole && (groups == 1 || (row + rows_per_step - 1) / rows == group)) {
        forward_run<Applied, rows_per_step, true, In, Out>(task, begin, n, group, weight, bias, 0, n);
        begin += rows_per_step * n;
        row += rows_per_step;
        continue;
      }
    }
    if (in_rows) {
      forward_run<Applied, 1, true, In, Out>(task, begin, 0, group, weight, bias, c, n);
      c = 0;
    } else {
      forward_run<Applied, 1, false, In, Out>(task, begin, 0, group, weight, bias, c, n);
      c = c + 1 == channels ? 0 : c + 1;
      within = 0;
    }
    row += c == 0;
    begin += n;
  }
  store_fence(task.out_of_cache);
}

}  // namespace derf::CPU_CAPABILITY

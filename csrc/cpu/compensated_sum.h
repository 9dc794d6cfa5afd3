// Sums in float64 that carry along what each addition rounds off (Knuth's two-sum), so that their error does not grow
// with the number of terms.
#pragma once
#include <cstdint>

#ifdef CPU_CAPABILITY  // compilations for different instruction sets must not share code
namespace derf::CPU_CAPABILITY {
#else
namespace derf::cpu {
#endif

// n sums side by side, in arrays of their own so that a compiler adds whole vectors.
template <int n>
class CompensatedSums {
  double sum[n] = {}, lost[n] = {};

 public:
  template <class Scalar>
  void add(const Scalar* x, int64_t count = n) {
    for (int64_t i = 0; i < count; ++i) {
      const double term = x[i], next = sum[i] + term, term_seen = next - sum[i];
      lost[i] += (sum[i] - (next - term_seen)) + (term - term_seen);
      sum[i] = next;
    }
  }

  // Infinite and NaN sums have nothing to add: what was lost is NaN then.
  double total_of(int64_t i) const { return lost[i] == lost[i] ? sum[i] + lost[i] : sum[i]; }

  double total() const {
    CompensatedSums<1> all;
    for (int i = 0; i < n; ++i) {
      const double x = total_of(i);
      all.add(&x);
    }
    return all.total_of(0);
  }
};

}  // namespace

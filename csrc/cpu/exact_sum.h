// A sum of float64 terms that carries along what each addition rounds off (Knuth's two-sum), so that its error does not
// grow with the number of terms.
#pragma once

#ifdef CPU_CAPABILITY  // compilations for different instruction sets must not share code
namespace derf::CPU_CAPABILITY {
#else
namespace derf::cpu {
#endif

struct ExactSum {
  double sum = 0, lost = 0;

  void add(double x) {
    const double next = sum + x, x_seen = next - sum;
    lost += (sum - (next - x_seen)) + (x - x_seen);
    sum = next;
  }

  // Infinite and NaN sums have nothing to add: what was lost is NaN then.
  double total() const { return lost == lost ? sum + lost : sum; }
};

}  // namespace

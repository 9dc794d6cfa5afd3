// Calls every kernel of one compilation, without PyTorch, and compares with float64: for processors that are there in
// an emulator only (emulate.sh). Prints a line a group of calls, with its largest error as a part of what is allowed
// and a hash of all results' bits; exits with 1 where an error is too large or a byte outside of the results changed.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "../../csrc/cpu/tasks.h"

#ifndef DERF_DRIVER_KERNELS
#define DERF_DRIVER_KERNELS AVX512
#endif

namespace c10::detail {  // what the kernels' file needs of PyTorch's libraries
void torchCheckFail(const char*, const char*, uint32_t, const char* message) {
  std::puts(message);
  std::abort();
}
}  // namespace c10::detail

namespace {

using derf::Function, derf::Result, derf::Shape, derf::Type, derf::cpu::Tiles;
const derf::cpu::Kernels& kernels = derf::cpu::DERF_DRIVER_KERNELS::kernels;
const double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
std::mt19937 generator(1);
bool failed = false;

double uniform(double low, double high) { return low + (high - low) * (generator() / 4294967296.0); }

template <class T>
constexpr Type type = std::is_same_v<T, double>      ? Type::f64
                      : std::is_same_v<T, float>     ? Type::f32
                      : std::is_same_v<T, c10::Half> ? Type::f16
                                                     : Type::bf16;
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
// The largest relative error of a rounding; the errors of erf and its slope, as tests/tolerance.py has them.
template <class T>
constexpr double roundoff = std::is_same_v<T, double>  ? 0x1p-53
                            : std::is_same_v<T, float> ? 0x1p-24
                                                       : (std::is_same_v<T, c10::Half> ? 0x1p-11 : 0x1p-8);
template <class T>
constexpr double smallest = std::is_same_v<T, double>      ? 0x1p-1074
                            : std::is_same_v<T, c10::Half> ? 0x1p-25
                                                           : 0x1p-134;
template <class T>
constexpr double value_error = std::is_same_v<T, double>      ? 0x1p-50
                               : std::is_same_v<T, float>     ? 0x1p-22
                               : std::is_same_v<T, c10::Half> ? 0.01 * 0x1p-10
                                                              : 0.01 * 0x1p-7;
template <class T>
constexpr double slope_error = std::is_same_v<T, double>  ? 0x1p-46
                               : std::is_same_v<T, float> ? 0x1p-19
                                                          : 0x1p-14;

double slope_of(double u) { return 1.1283791670955126 * std::exp(-u * u); }

// An array between bytes that must not change, from `offset` elements behind a multiple of 64 bytes on.
template <class T>
class Array {
 public:
  explicit Array(int64_t count, int64_t offset = 0) : bytes_(count * sizeof(T)), memory_(bytes_ + 512, 0xa5) {
    const auto start = reinterpret_cast<uintptr_t>(memory_.data());
    data_ = memory_.data() + (64 - start % 64) + 64 + offset * sizeof(T);
  }
  T* data() const { return reinterpret_cast<T*>(data_); }
  T& operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return bytes_ / sizeof(T); }
  bool intact() const {
    for (const unsigned char& byte : memory_) {
      if ((&byte < data_ || &byte >= data_ + bytes_) && byte != 0xa5) {
        return false;
      }
    }
    return true;
  }

 private:
  size_t bytes_;
  std::vector<unsigned char> memory_;
  unsigned char* data_;
};

// A line of the output.
class Group {
 public:
  template <class... Arguments>
  explicit Group(const char* format, Arguments... arguments) {
    std::snprintf(name_, sizeof name_, format, arguments...);
  }
  ~Group() {
    std::printf("%-34s %8.4f of the bound, %7lld results, hash %016llx\n", name_, worst_, (long long)count_,
                (unsigned long long)hash_);
    std::fflush(stdout);
  }
  template <class T>
  void check(const Array<T>& results, int64_t i, double truth, double bound) {
    const double actual = double(results[i]);
    const bool same = actual == truth || (std::isnan(actual) && std::isnan(truth));
    const double error = same ? 0 : std::fabs(actual - truth) / bound;
    ++count_;
    worst_ = std::isnan(error) ? infinity : std::fmax(worst_, error);
    if (!(error <= 1) && ++reports_ <= 5) {
      std::printf("%s: %a at %lld, expected %a +- %a\n", name_, actual, (long long)i, truth, bound);
      failed = true;
    }
  }
  template <class T>
  void hash(const Array<T>& results) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(results.data());
    for (size_t i = 0; i < results.size() * sizeof(T); ++i) {
      hash_ = (hash_ ^ bytes[i]) * 1099511628211u;
    }
    if (!results.intact()) {
      std::printf("%s: wrote outside of a result\n", name_);
      failed = true;
    }
  }

 private:
  char name_[64];
  double worst_ = 0;
  int64_t count_ = 0, reports_ = 0;
  uint64_t hash_ = 14695981039346656037u;
};

template <class T>
void evaluate(const char* name) {
  using W = Wide<T>;
  std::vector<W> samples = {0,
                            -W(0),
                            W(infinity),
                            -W(infinity),
                            W(nan),
                            std::numeric_limits<W>::denorm_min(),
                            std::numeric_limits<W>::max(),
                            -std::numeric_limits<W>::max()};
  for (double u = -10; u < 10; u += 0.0037) {
    samples.push_back(W(u));
  }
  for (W u = std::numeric_limits<W>::denorm_min(); u < W(1e30); u = std::fmax(u * W(1.05), std::nextafter(u, W(1)))) {
    samples.push_back(W(-u));
  }
  const int64_t n = int64_t(samples.size());
  Array<W> u(n), value(n), slope(n);
  std::copy(samples.begin(), samples.end(), u.data());
  const Array<W> in_sums(n);
  kernels.evaluate({Function::erf, type<T>, u.data(), value.data(), in_sums.data(), slope.data(), n});
  Group values("erf, %s", name), slopes("its slope, %s", name);
  values.hash(value);
  slopes.hash(slope);
  for (int64_t i = 0; i < n; ++i) {
    const double truth = std::erf(double(u[i])), steep = slope_of(u[i]);
    values.check(value, i, truth, value_error<T> * std::fabs(truth) + 2 * double(std::numeric_limits<W>::denorm_min()));
    slopes.check(slope, i, steep, slope_error<T> * std::fmax(steep, 0x1p-20));
  }
}

template <class T>
void fill(const Array<T>& array, double low, double high) {
  for (int64_t i = 0; i < array.size(); ++i) {
    array[i] = T(Wide<T>(uniform(low, high)));
  }
}

// Both layouts, tails of every length, unaligned memory, parts of the elements, past the cache or not.
const Shape shapes[] = {{1, 1, 1, 1},  {1, 3, 2, 1},   {1, 9, 31, 1},  {1, 5, 64, 1}, {1, 2, 77, 1},  {1, 6, 130, 1},
                        {1, 2, 3, 17}, {1, 1, 5, 129}, {1, 300, 1, 1}, {1, 1, 4, 64}, {1, 33, 96, 1}, {1, 1, 1, 1000}};

// What the kernels read in the place of an absent weight (1) or bias (0).
template <class P>
derf::cpu::Parameter parameter(const Array<P>& given, bool present, double otherwise) {
  static P constants[2][64];
  P* constant = constants[otherwise == 0];
  std::fill(constant, constant + 64, P(float(otherwise)));
  return present ? derf::cpu::Parameter{given.data(), 0, -1} : derf::cpu::Parameter{constant, 0, 0};
}

template <class T, class P>
derf::cpu::Task task(const Shape& shape, const Array<T>& input, double alpha, double shift,
                     const derf::cpu::Parameter& weight, const derf::cpu::Parameter& bias, bool out_of_cache) {
  return {.type = type<T>,
          .param_type = type<P>,
          .shape = shape,
          .input = input.data(),
          .alpha = alpha,
          .shift = shift,
          .alphas = nullptr,
          .shifts = nullptr,
          .weight = weight,
          .bias = bias,
          .weight_offset = 0,
          .function = Function::erf,
          .study = {},
          .adds = false,
          .sum_type = type<T>,
          .gate = {},
          .prefetch = out_of_cache,
          .out_of_cache = out_of_cache};
}

template <class T, class P>
void forward(const char* name) {
  Group group("forward, %s", name);
  for (const Shape& shape : shapes) {
    for (int variant = 0; variant < 8; ++variant) {
      const bool out_of_cache = variant & 1, parameters = shape.in_rows() || !(variant & 2);
      const int64_t n = shape.numel(), offset = variant & 4 ? 1 + generator() % 31 : 0;
      const Array<T> input(n, offset ? generator() % 31 : 0), output(n, offset);
      const Array<P> weight(shape.channels, offset), bias(shape.channels, offset);
      fill(input, -6, 6);
      fill(weight, -2, 2);
      fill(bias, -1, 1);
      input[n / 2] = T(infinity);
      input[n / 3] = T(nan);
      input[n / 4] = T(-infinity);
      const double alpha = float(uniform(0.4, 1.2)), shift = float(uniform(-0.4, 0.4));
      const derf::cpu::ForwardTask call{task<T, P>(shape, input, alpha, shift, parameter(weight, parameters, 1),
                                                   parameter(bias, parameters, -0.), out_of_cache),
                                        output.data(),
                                        nullptr,
                                        nullptr,
                                        nullptr,
                                        {},
                                        {}};
      const int64_t cut = generator() % (n + 1);
      kernels.forward(call, 0, cut);
      kernels.forward(call, cut, n);
      group.hash(output);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t c = i / shape.inner % shape.channels;
        const double x = input[i], u = alpha * x + shift,
                     du = std::isfinite(u) ? 4 * roundoff<Wide<T>> * (std::fabs(alpha * x) + std::fabs(u)) : 0;
        const double w = parameters ? double(weight[c]) : 1, b = parameters ? double(bias[c]) : 0;
        const double f = std::erf(u), truth = w * f + b;
        const double error =
            std::fabs(w) * (value_error<T> * std::fabs(f) + 2 * du * slope_of(std::fmax(0, std::fabs(u) - du)));
        group.check(output, i, truth,
                    1.1 * error + (roundoff<T> + 4 * roundoff<Wide<T>>)*(
                                      std::fabs(truth) + std::fabs(w * f) * roundoff<Wide<T>>)+smallest<T>);
      }
    }
  }
}

template <class T, class P>
void backward(const char* name) {
  using W = Wide<T>;
  Group inputs("gradient of input, %s", name), scalars("of alpha and shift, %s", name),
      channels("of weight and bias, %s", name);
  for (const Shape& shape : shapes) {
    for (int variant = 0; variant < 12; ++variant) {
      const bool out_of_cache = variant & 1, weighted = shape.in_rows() || !(variant & 2), special = variant >= 8;
      const bool want_input = variant != 4, want_value = variant != 5, want_scalars = variant != 6;
      const int64_t n = shape.numel(), offset = variant & 4 ? 1 + generator() % 31 : 0;
      const Array<T> grad(n, offset ? generator() % 31 : 0), input(n, offset), result(n, offset);
      const Array<P> weight(shape.channels, offset);
      fill(input, -4, 4);
      fill(grad, -2, 2);
      fill(weight, -2, 2);
      if (special) {  // the slope is 0 there, and so is what it is multiplied with
        input[n / 2] = T(infinity);
        input[n / 3] = T(-60000);
        weight[0] = P(1);
      }
      const Tiles tiles =
          shape.in_rows()
              ? Tiles{{1, 8, 48, 1}, {1, (shape.rows + 7) / 8, (shape.channels + 47) / 48, 1}}
              : Tiles{{1, 2, 3, 100}, {1, (shape.rows + 1) / 2, (shape.channels + 2) / 3, (shape.inner + 99) / 100}};
      const Array<double> alpha_partial(tiles.total()), shift_partial(tiles.total());
      const Array<W> weight_partial(tiles.rows() * shape.channels), bias_partial(tiles.rows() * shape.channels);
      const Array<P> grad_weight(shape.channels, 1), grad_bias(shape.channels, 2);
      const double alpha = float(uniform(0.4, 1.2)), shift = float(uniform(-0.4, 0.4));
      const auto sums = [](bool wanted, void* result, Type of, void* partial) -> derf::cpu::Sums {
        return wanted ? derf::cpu::Sums{{result, of}, partial} : derf::cpu::Sums{};
      };
      const Array<double> totals(2);  // the caller's work: the sums of alpha's and shift's parts
      // Where one tile has all rows it writes the gradients of weight and bias itself.
      const bool itself = tiles.rows_of_group() == 1;
      const derf::cpu::BackwardTask call{
          task<T, P>(shape, input, alpha, shift, parameter(weight, weighted, 1), parameter(weight, false, -0.),
                     out_of_cache),
          tiles,
          grad.data(),
          want_input ? result.data() : nullptr,
          sums(want_scalars, totals.data(), Type::f64, alpha_partial.data()),
          sums(want_scalars, totals.data() + 1, Type::f64, shift_partial.data()),
          sums(want_value, grad_weight.data(), type<P>, itself ? nullptr : weight_partial.data()),
          sums(want_value, grad_bias.data(), type<P>, itself ? nullptr : bias_partial.data()),
          nullptr,
          nullptr,
          nullptr,
          {}};
      const int64_t cut = generator() % (tiles.total() + 1);
      kernels.backward(call, 0, cut);
      kernels.backward(call, cut, tiles.total());
      struct Sum {
        double truth = 0, error = 0, size = 0, terms = 0;
        void add(double term, double term_error) {
          truth += term, error += term_error, size += std::fabs(term), terms += 1;
        }
        double bound(double last) const {
          return 1.1 * error + (terms + 4) * roundoff<W> * size + last * (std::fabs(truth) + error) + 0x1p-134;
        }
      };
      Sum of_alpha, of_shift;
      std::vector<Sum> of_weight(shape.channels), of_bias(shape.channels);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t c = i / shape.inner % shape.channels;
        const double x = input[i], g = grad[i], w = weighted ? double(weight[c]) : 1, u = alpha * x + shift;
        const double du = std::isfinite(u) ? 4 * roundoff<W> * (std::fabs(alpha * x) + std::fabs(u)) : 0;
        const double slope = slope_of(u), f = std::erf(u), steep = slope_of(std::fmax(0, std::fabs(u) - du));
        const double slope_wrong =
            std::isfinite(u) ? slope_error<T> * std::fmax(slope, 0x1p-20) + 2 * (std::fabs(u) + du) * steep * du : 0;
        const double h = g * slope, h_wrong = std::fabs(g) * slope_wrong + 4 * roundoff<W> * std::fabs(h);
        const double hx = slope == 0 ? 0 : h * x,
                     x_size = slope == 0 ? (std::isfinite(x) ? std::fabs(x) : 0) : std::fabs(x);
        if (want_input) {
          const double truth = h * w * alpha;
          inputs.check(
              result, i, truth,
              1.1 * std::fabs(w * alpha) * h_wrong + (roundoff<T> + 4 * roundoff<W>)*std::fabs(truth) + smallest<T>);
        }
        of_alpha.add(w * hx, std::fabs(w) * h_wrong * x_size);
        of_shift.add(w * h, std::fabs(w) * h_wrong);
        of_weight[c].add(g * f, std::fabs(g) * ((sizeof(T) == 2 ? 0x1p-14 : value_error<T>)+steep * du));
        of_bias[c].add(g, 0);
      }
      if (want_input) {
        inputs.hash(result);
      }
      if (want_scalars) {
        totals[0] = totals[1] = 0;
        for (int64_t i = 0; i < tiles.total(); ++i) {
          totals[0] += alpha_partial[i], totals[1] += shift_partial[i];
        }
        scalars.check(totals, 0, of_alpha.truth, of_alpha.bound(0x1p-50));
        scalars.check(totals, 1, of_shift.truth, of_shift.bound(0x1p-50));
        scalars.hash(alpha_partial);
        scalars.hash(shift_partial);
      }
      if (want_value) {
        for (const auto& each : {call.weight_sums, call.bias_sums}) {
          if (each.partial) {
            kernels.reduce({type<T>, 1, tiles.rows(), shape.channels, each.partial, each.result}, 0, shape.channels);
          }
        }
        for (int64_t c = 0; c < shape.channels; ++c) {
          channels.check(grad_weight, c, of_weight[c].truth, of_weight[c].bound(roundoff<P>));
          channels.check(grad_bias, c, of_bias[c].truth, of_bias[c].bound(roundoff<P>));
        }
        channels.hash(grad_weight);
        channels.hash(grad_bias);
        if (!itself) {
          channels.hash(weight_partial);
        }
      }
    }
  }
}

template <class T>
void widen(const char* name) {
  Group group("every %s as float32", name);
  const Array<uint16_t> bits(65536, 1);
  const Array<float> wide(65536, 3);
  for (int i = 0; i < 65536; ++i) {
    bits[i] = uint16_t(i);
  }
  kernels.widen({type<T>, Type::f32, bits.data(), wide.data(), 65536, 0});
  group.hash(wide);
  for (int i = 0; i < 65536; ++i) {
    group.check(wide, i, float(T(uint16_t(i), T::from_bits())), 0);
  }
}

}  // namespace

int main() {
  std::printf("kernels: %s\n", kernels.name);
  evaluate<double>("float64");
  evaluate<float>("float32");
  evaluate<c10::Half>("float16");
  evaluate<c10::BFloat16>("bfloat16");
  forward<double, double>("float64");
  forward<float, float>("float32");
  forward<c10::Half, c10::Half>("float16");
  forward<c10::Half, float>("float16-float32");
  forward<c10::BFloat16, c10::BFloat16>("bfloat16");
  forward<c10::BFloat16, float>("bfloat16-float32");
  backward<double, double>("float64");
  backward<float, float>("float32");
  backward<c10::Half, c10::Half>("float16");
  backward<c10::Half, float>("float16-float32");
  backward<c10::BFloat16, c10::BFloat16>("bfloat16");
  backward<c10::BFloat16, float>("bfloat16-float32");
  widen<c10::Half>("float16");
  widen<c10::BFloat16>("bfloat16");
  std::puts(failed ? "FAILED" : "all within the bounds");
  return failed;
}

// weight, bias or gate of one group, for a loop over channels or over one channel.
#pragma once
#include "memory.h"

namespace derf::CPU_CAPABILITY {

// Of type P.
template <class P>
struct ParameterRow {
  const P* data;
  int64_t mask;

  ParameterRow(const cpu::Parameter& parameter, Type, int64_t group)
      : data(static_cast<const P*>(parameter.data) + group * parameter.group_stride), mask(parameter.channel_mask) {}

  const P* at(int64_t channel) const { return data + (channel & mask); }
  template <class T>
  inline __attribute__((always_inline)) Chunk<T> load(int64_t channel, int64_t count) const {
    return CPU_CAPABILITY::load<T>(at(channel), count);
  }
  template <class T>
  opmath_t<T> one(int64_t channel) const {
    return opmath_t<T>(*at(channel));
  }
  bool brings_any_nan() const { return false; }
};

// Of type T or float, as is known at run time alone: spares loops that are called less an instantiation for each.
template <class T>
struct Either {};
template <class T>
using EitherIf16 = std::conditional_t<sizeof(T) == 2, Either<T>, T>;

template <class U>
struct ParameterRow<Either<U>> {
  ParameterRow<U> narrow;
  ParameterRow<float> wide;
  bool is_wide;

  ParameterRow(const cpu::Parameter& parameter, Type type, int64_t group)
      : narrow(parameter, type, group), wide(parameter, type, group), is_wide(type == Type::f32) {}

  template <class T>
  inline __attribute__((always_inline)) Chunk<T> load(int64_t channel, int64_t count) const {
    return is_wide ? wide.template load<T>(channel, count) : narrow.template load<T>(channel, count);
  }
  template <class T>
  opmath_t<T> one(int64_t channel) const {
    return is_wide ? wide.template one<T>(channel) : narrow.template one<T>(channel);
  }
  // Whether a NaN of it may have all bits set.
  bool brings_any_nan() const { return is_wide && wide.mask != 0; }
};

// Whether a result's NaN may have all bits set: those that float32 parameters bring.
template <class P>
constexpr bool brings_any_nan = std::is_same_v<P, float>;
template <class T>
constexpr bool brings_any_nan<Either<T>> = true;

}  // namespace derf::CPU_CAPABILITY

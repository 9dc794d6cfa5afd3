// Decisions from the fuzzer's bytes. Where they end every decision is 0: the simplest case.
#pragma once
#include <cstdint>
#include <initializer_list>

namespace fuzz {

class Bytes {
  const uint8_t *next_, *end_;

 public:
  Bytes(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  uint8_t byte() { return next_ == end_ ? 0 : *next_++; }
  bool ended() const { return next_ == end_; }
  int64_t below(int64_t n) { return byte() % n; }
  bool one_in(int64_t n) { return below(n) == n - 1; }
  template <class T>
  T of(std::initializer_list<T> choices) {
    return choices.begin()[below(int64_t(choices.size()))];
  }
};

// Numbers that follow from a seed of two bytes, so that a tensor takes few bytes and is the same each time
// (splitmix64).
class Random {
  uint64_t state_;

 public:
  explicit Random(Bytes& bytes) : state_(bytes.byte() * 256u + bytes.byte()) {}

  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform(double low, double high) { return low + (high - low) * (double(bits() >> 11) * 0x1p-53); }
};

}  // namespace fuzz

// Calls from bytes. A right call first, argument by argument as the operator's schema names them; then, now and then,
// something that makes it a wrong one, or makes it another one.
#include <algorithm>
#include <cstring>
#include <limits>

#include "call.h"
#include "functions.h"

namespace fuzz {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
constexpr at::ScalarType floats[] = {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble};

// All operators of the library that take arguments, by name: new ones are fuzzed without a word here.
const std::vector<c10::OperatorHandle>& operators() {
  static const std::vector<c10::OperatorHandle> all = [] {
    std::vector<c10::OperatorHandle> found;
    auto names = c10::Dispatcher::singleton().getAllOpNames();
    std::sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return toString(a) < toString(b); });
    for (const auto& name : names) {
      if (name.name.starts_with("derf::")) {
        const auto op = c10::Dispatcher::singleton().findSchema(name).value();
        if (!op.schema().arguments().empty()) {
          found.push_back(op);
        }
      }
    }
    TORCH_CHECK(!found.empty(), "derf's operators are not loaded");
    return found;
  }();
  return all;
}

class Decoder {
  Bytes& bytes_;
  Call call_;
  at::ScalarType dtype_, scalar_dtype_, channel_dtype_, gate_dtype_, residual_dtype_;
  std::vector<int64_t> sizes_;
  int64_t channel_ = -1;  // channel_dim from 0 on; -1 for an input without dimensions
  int64_t scalar_dims_ = 0, channel_dims_ = 1;

  at::ScalarType beside_input() {
    return dtype_ == at::kHalf || dtype_ == at::kBFloat16 ? bytes_.of({dtype_, at::kFloat}) : dtype_;
  }

  void shape() {
    static constexpr int64_t choices[] = {3,  1,  2,  0,  4,  5,  7,   8,   9,   15,  16,   17,  31,
                                          33, 48, 64, 65, 70, 96, 127, 130, 257, 520, 1025, 2100};
    const int64_t dims = bytes_.of({2, 1, 3, 4, 0, 5});
    const int64_t most = bytes_.of({40, 40, 40, 40, 40, 40, 300, 6000});  // elements: small calls are quick
    int64_t numel = 1;
    for (int64_t i = 0; i < dims; ++i) {
      int64_t size = choices[bytes_.below(std::size(choices))];
      while (numel * size > most) {
        size = (size + 1) / 2;
        if (size == 1) {
          break;
        }
      }
      sizes_.push_back(size);
      numel *= std::max<int64_t>(size, 1);
    }
    if (dims > 0) {
      channel_ = bytes_.of<int64_t>({dims - 1, dims - 1, dims - 1, 0, dims / 2, std::min<int64_t>(1, dims - 1)});
    }
    call_.channel_dim = bytes_.one_in(2) ? channel_ : channel_ - dims;
    if (dims == 0) {
      call_.channel_dim = bytes_.of({-1, 0});
    }
    if (channel_ == dims - 1) {
      scalar_dims_ = bytes_.one_in(3) ? std::min<int64_t>(dims, 1 + bytes_.below(2)) : 0;
    } else {
      scalar_dims_ = bytes_.below(2);
    }
    channel_dims_ = 1 + bytes_.below(std::max<int64_t>(channel_ + 1, 1));
  }

  std::vector<int64_t> trailing(int64_t dims) const {
    const auto end = sizes_.begin() + (channel_ + 1);
    return {end - std::min(dims, channel_ + 1), end};
  }

  double special(Random& random, at::ScalarType dtype) {
    const double largest = dtype == at::kDouble ? 1.7e308 : dtype == at::kHalf ? 65504 : 3.3e38;
    const double smallest = dtype == at::kDouble ? 3e-320 : dtype == at::kHalf ? 3e-7 : 3e-42;
    const double all[] = {nan, inf, -inf, 0., -0., smallest, -smallest,          largest,   -largest, 1, -1,
                          0.5, 1e4, -1e4, 30, -30, 1e-4,     1.5707963267948966, -1.7182818};
    return all[random.bits() % std::size(all)];
  }

  // n numbers side by side.
  Tensor numbers(int64_t n, at::ScalarType dtype, double low, double high) {
    const int64_t kind = bytes_.below(16);
    Random random(bytes_);
    if (kind == 15 && at::isFloatingType(dtype)) {  // any bits
      Tensor raw = at::empty({n}, dtype);
      auto* bytes = static_cast<uint8_t*>(raw.mutable_data_ptr());
      for (size_t i = 0; i < raw.nbytes(); ++i) {
        bytes[i] = uint8_t(random.bits());
      }
      return raw;
    }
    Tensor wide = at::empty({n}, at::kDouble);
    double* x = wide.mutable_data_ptr<double>();
    const double constant = random.uniform(low, high);
    for (int64_t i = 0; i < n; ++i) {
      switch (kind) {
        case 14: x[i] = random.bits() % 8 == 0 ? special(random, dtype) : random.uniform(low, high); break;
        case 13: x[i] = special(random, dtype); break;
        case 12: x[i] = std::ldexp(random.uniform(-2, 2), int(random.bits() % 60) - 40); break;
        case 11: x[i] = constant; break;
        case 10: x[i] = 0; break;
        case 9: x[i] = random.uniform(30 * low, 30 * high); break;
        default: x[i] = random.uniform(low, high);
      }
    }
    return wide.to(dtype);
  }

  // own: no two elements in one place. The storage ends with the last element, where a sanitizer has its guard.
  Tensor tensor(const std::vector<int64_t>& sizes, at::ScalarType dtype, double low = -3, double high = 3,
                bool own = false) {
    const int64_t mode = bytes_.below(16), dims = int64_t(sizes.size());
    std::vector<int64_t> order(dims), strides(dims, 1);
    for (int64_t i = 0; i < dims; ++i) {
      order[i] = i;
    }
    if (mode == 9 || mode == 10) {
      for (int64_t i = dims - 1; i > 0; --i) {
        std::swap(order[i], order[bytes_.below(i + 1)]);
      }
    }
    int64_t stride = mode == 11 || mode == 10 ? 2 + bytes_.below(2) : 1;
    for (int64_t i = dims - 1; i >= 0; --i) {
      strides[order[i]] = stride;
      stride *= std::max<int64_t>(sizes[order[i]], 1);
      if (mode == 12 && i == dims - 1) {
        stride += 1 + bytes_.below(8);  // rows with something between
      }
    }
    if (mode == 13 || (mode >= 14 && !own)) {
      for (int64_t i = 0; i < dims; ++i) {
        if (mode == 13 ? bytes_.one_in(2) && !own : true) {
          strides[i] = mode == 13 ? 0 : bytes_.below(4);
        }
      }
    }
    const int64_t offset = mode == 0 ? 0 : bytes_.below(5);
    int64_t last = 0;
    bool empty = false;
    for (int64_t i = 0; i < dims; ++i) {
      last += (sizes[i] - 1) * strides[i];
      empty = empty || sizes[i] == 0;
    }
    const Tensor storage = numbers(offset + (empty ? 0 : last + 1), dtype, low, high);
    return storage.as_strided(sizes, strides, offset);
  }

  Tensor scalar(double low, double high) {
    if (scalar_dims_ == 0) {
      return tensor(bytes_.one_in(2) ? std::vector<int64_t>{} : std::vector<int64_t>{1}, scalar_dtype_, low, high);
    }
    return tensor(trailing(scalar_dims_), scalar_dtype_, low, high);
  }

  Tensor of_channels(at::ScalarType dtype) {
    auto sizes = trailing(channel_dims_);
    for (size_t i = 0; i + 1 < sizes.size(); ++i) {
      sizes[i] = bytes_.one_in(3) ? 1 : sizes[i];
    }
    return tensor(sizes, dtype, -2, 2);
  }

  Tensor gate() {
    auto sizes = trailing(bytes_.below(channel_ + 2));
    for (auto& size : sizes) {
      size = bytes_.one_in(3) ? 1 : size;
    }
    if (bytes_.one_in(3)) {  // all dimensions
      std::vector<int64_t> all(sizes_.size(), 1);
      std::copy(sizes.begin(), sizes.end(), all.begin() + (channel_ + 1 - int64_t(sizes.size())));
      sizes = all;
    }
    return tensor(sizes, gate_dtype_, -2, 2);
  }

  Tensor out() {
    const Tensor input = call_.tensor("input");
    switch (bytes_.below(8)) {
      case 7: return input;
      case 6:  // in part in the same memory
        if (input.is_contiguous() && input.dim() == 1 && input.numel() > 1) {
          const Tensor memory = tensor({input.numel() + 1}, dtype_);
          call_.tensors["input"] = memory.narrow(0, 0, input.numel());
          return memory.narrow(0, 1, input.numel());
        }
        return input;
      case 5: return tensor(sizes_, dtype_).expand(sizes_);
      default: return tensor(sizes_, dtype_, -3, 3, /*own=*/true);
    }
  }

  Tensor scale() {
    const bool one = channel_ < 0 || bytes_.one_in(2);
    const Tensor s =
        tensor(one ? std::vector<int64_t>{1} : std::vector<int64_t>{sizes_[channel_]}, at::kFloat, 1e-3, 1);
    return bytes_.one_in(8) ? s : s.abs().nan_to_num(1., 2., 2.).clamp(1e-6, 1e6);  // positive and finite
  }

  // What the schema calls `name`.
  void argument(const std::string& name, bool optional) {
    auto& t = call_.tensors;
    if (optional && (name == "input" ? bytes_.one_in(4) : name == "function" || bytes_.one_in(3))) {
      return;
    }
    if (name == "input") {
      t[name] = tensor(sizes_, dtype_, -3, 3, call_.in_place());
    } else if (name == "grad_output") {
      t[name] = tensor(sizes_, dtype_, -2, 2);
    } else if (name == "residual" || name == "sum" || name == "grad_sum") {
      t[name] = tensor(sizes_, residual_dtype_);
    } else if (name == "u") {
      t[name] = tensor(sizes_, dtype_, -4, 4);
    } else if (name == "alpha") {
      t[name] = scalar(0.2, 1.5);
    } else if (name == "shift") {
      t[name] = scalar(-0.5, 0.5);
    } else if (name == "weight" || name == "bias") {
      if (channel_ >= 0) {
        t[name] = of_channels(channel_dtype_);
      }
    } else if (name == "gate") {
      if (!call_.is_quantized() || t.contains("residual")) {
        t[name] = gate();
      }
    } else if (name == "out") {
      t[name] = out();
    } else if (name == "scale") {
      t[name] = scale();
    } else if (name == "function") {
      call_.function = functions<double>()[bytes_.below(int64_t(functions<double>().size()))].name;
    } else if (name == "weight_offset") {
      call_.weight_offset = t.contains("weight") ? bytes_.of({0., 1., -0.75}) : 0;
    } else if (name == "dead_zone") {
      call_.dead_zone = bytes_.of({0., 0., 0.3, 1e-3});
    } else if (name == "input_shift") {
      call_.input_shift = bytes_.of({0., 0., 0.25, -1.});
    } else if (name == "linear_mix") {
      call_.linear_mix = call_.function == "linear" ? 0 : bytes_.of({0., 0., 0., 0.25, 1.});
    } else if (name == "clip") {
      call_.clip = bytes_.of({0.5, 0.9, 2., inf});
    } else if (name == "output_shift") {
      call_.output_shift = bytes_.of({0., 0., 0.7, -0.1});
    } else if (name == "sign") {
      call_.sign = bytes_.of({1, 1, -1});
    } else if (name == "order") {
      call_.order = bytes_.below(3);
    } else if (name == "dtype") {
      call_.dtype = bytes_.of({at::kChar, at::kFloat8_e4m3fn, at::kFloat8_e5m2});
    } else if (name == "unquantized") {
      call_.unquantized = bytes_.one_in(2);
    } else if (name == "output_mask") {
      const int64_t all = bytes_.byte();
      for (int64_t i = 0; i < (call_.is_add_backward() ? 7 : 5); ++i) {
        call_.output_mask.push_back((all >> i & 1) == 0);
      }
    } else {
      TORCH_CHECK(name == "channel_dim", "no rule for argument ", name, " of ", call_.name);
    }
  }

  bool takes(const char* name) const { return call_.op->schema().argumentIndexWithName(name).has_value(); }

  // Sets an option to what it must not be, where the operator has it.
  template <class Option, class Value>
  void spoil(const char* name, Option& option, std::initializer_list<Value> values) {
    const Value value = bytes_.of(values);
    if (takes(name)) {
      option = value;
    }
  }

  std::string any_tensor() {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : call_.tensors) {
      names.push_back(name);
    }
    return names[bytes_.below(int64_t(names.size()))];
  }

  void spoil() {
    const std::string name = any_tensor();
    Tensor& t = call_.tensors[name];
    switch (bytes_.below(14)) {
      case 0: t = t.to(bytes_.of({at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kInt, at::kBool})); break;
      case 1: t = tensor({bytes_.of<int64_t>({1, 2, 3, 7}), bytes_.of<int64_t>({1, 3, 0})}, t.scalar_type()); break;
      case 2: t = tensor({bytes_.of<int64_t>({1, 2, 3, 0, 64})}, t.scalar_type()); break;
      case 3: t = tensor({}, t.scalar_type()); break;
      case 4:
        call_.channel_dim = bytes_.of<int64_t>(
            {0, 1, -2, 5, -6, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()});
        break;
      case 5: spoil("function", call_.function, {"", "Erf", "erf ", "no such function"}); break;
      case 6: spoil("dead_zone", call_.dead_zone, {-1., nan, inf}); break;
      case 7: spoil("clip", call_.clip, {0., -1., nan}); break;
      case 8: spoil<int64_t, int64_t>("sign", call_.sign, {0, 2, -2, std::numeric_limits<int64_t>::max()}); break;
      case 9: spoil("linear_mix", call_.linear_mix, {-0.1, 1.5, nan}); break;
      case 10: spoil("weight_offset", call_.weight_offset, {nan, inf, 1.}); break;
      case 11:
        call_.tensors.erase(name);
        if (call_.tensors.empty()) {
          call_.tensors[name] = at::ones({}, at::kInt);
        }
        break;
      case 12: {  // more elements than there is memory
        std::vector<int64_t> sizes = t.sizes().vec();
        sizes.insert(sizes.begin(), int64_t(1) << (40 + bytes_.below(4)));
        t = at::ones({}, t.scalar_type()).expand(sizes);
        break;
      }
      default: t = t.dim() > 0 && !t.is_sparse() && !call_.writes() ? t.contiguous().to_sparse() : t;
    }
  }

 public:
  explicit Decoder(Bytes& bytes) : bytes_(bytes) {}

  Call decode() {
    call_.op = operators()[bytes_.below(int64_t(operators().size()))];
    std::string name = call_.op->schema().name().substr(std::strlen("derf::"));
    call_.composite = name.ends_with("_composite");
    call_.name = call_.composite ? name.substr(0, name.size() - std::strlen("_composite")) : name;
    dtype_ = floats[bytes_.below(std::size(floats))];
    if (call_.is_function()) {
      dtype_ = bytes_.of({at::kFloat, at::kDouble});
    }
    scalar_dtype_ = beside_input();
    channel_dtype_ = beside_input();
    gate_dtype_ = beside_input();
    residual_dtype_ = beside_input();
    shape();
    for (const auto& argument : call_.op->schema().arguments()) {
      this->argument(argument.name(), argument.type()->kind() == c10::TypeKind::OptionalType);
    }
    // weight and bias have the same number of dimensions, alpha and shift too: so they came from the same choice.
    if (!call_.writes() && !call_.is_backward() && !call_.is_quantized() && !call_.is_function() && !call_.composite &&
        bytes_.one_in(3)) {
      call_.through_autograd = true;
      call_.tensors["grad_output"] = tensor(sizes_, dtype_, -2, 2);
      if (call_.is("add_pointwise_norm") && bytes_.one_in(2)) {
        call_.tensors["grad_sum"] = tensor(sizes_, residual_dtype_, -2, 2);
      }
    } else if (bytes_.one_in(6)) {
      spoil();
    }
    return std::move(call_);
  }
};

}  // namespace

Call decode(Bytes& bytes) { return Decoder(bytes).decode(); }

}  // namespace fuzz

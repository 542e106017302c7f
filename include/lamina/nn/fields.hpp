#pragma once

#include <cxxabi.h>

#include <concepts>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/shape.hpp"
#include "lamina/nn/options.hpp"

namespace lamina::inline LAMINA_ABI {

/// What a module is: its type and its options by name, in the order in which they are printed. A module says them once,
/// in fields(); name(), equality, summary and export read them.
///
///   return Fields("Conv2d").argument("in_channels", in_).argument("out_channels", out_).option("stride", stride_, 1);
///
/// is Conv2d(3, 64, stride=2), or Conv2d(3, 64) with the usual stride. A number is kept as Index or double, an option
/// that is not set (std::nullopt) as none.
class Fields {
 public:
  /// The types that a field may have; none stands for an option that is not set.
  using Value = std::variant<std::monostate, bool, Index, double, std::string, Size2, Padding, Shape>;

  /// Of a layer of this type, without fields so far.
  explicit Fields(std::string type) : type_(std::move(type)) {}

  /// Printed as its value.
  template <class T>
  Fields& argument(std::string name, const T& value) {
    Value kept = value_of(value);
    std::string shown = printed(kept);
    return add(std::move(name), std::move(kept), std::move(shown));
  }
  /// Printed as name=value.
  template <class T>
  Fields& option(std::string name, const T& value) {
    Value kept = value_of(value);
    std::string shown = name + "=" + printed(kept);
    return add(std::move(name), std::move(kept), std::move(shown));
  }
  /// Printed as name=value unless that is the usual one.
  template <class T>
  Fields& option(std::string name, const T& value, const std::type_identity_t<T>& usual) {
    return value == usual ? field(std::move(name), value, "") : option(std::move(name), value);
  }
  /// Printed as `shown`, which may be empty.
  template <class T>
  Fields& field(std::string name, const T& value, std::string shown) {
    return add(std::move(name), value_of(value), std::move(shown));
  }
  /// Text that is printed among the fields and is none.
  Fields& remark(std::string shown) { return add("", {}, std::move(shown)); }
  /// The same fields of another type: those of a block around a layer.
  Fields& as(std::string type) {
    type_ = std::move(type);
    return *this;
  }

  /// What it was made with.
  const std::string& type() const { return type_; }

  /// A field as T: bool, Index, double, std::string, Size2, Padding or Shape, or std::optional of one, which is empty
  /// for none. Throws ValueError if there is no such field, or one of another type.
  template <class T>
  T get(const std::string& name) const {
    const Value& value = find(name);
    if constexpr (requires {
                    typename T::value_type;
                    T(std::nullopt);
                  }) {
      if (std::holds_alternative<std::monostate>(value)) return std::nullopt;
      return get<typename T::value_type>(name);
    } else {
      const T* const kept = std::get_if<T>(&value);
      require(kept != nullptr, *this, ": field ", name, " is of another type, its value is ", printed(value));
      return *kept;
    }
  }

  /// The same type and the same fields with the same values.
  friend bool operator==(const Fields& a, const Fields& b) { return a.type_ == b.type_ && a.fields_ == b.fields_; }

  /// "Conv2d(3, 64, 7, stride=2)".
  std::string to_string() const {
    std::string out = type_ + "(";
    for (const Field& field : fields_)
      if (!field.shown.empty()) out += (out.back() == '(' ? "" : ", ") + field.shown;
    return out + ")";
  }

 private:
  struct Field {
    std::string name;
    Value value;
    std::string shown;

    friend bool operator==(const Field& a, const Field& b) { return a.name == b.name && a.value == b.value; }
  };

  template <class T>
  static Value value_of(const T& value) {
    if constexpr (std::same_as<T, bool>)
      return value;
    else if constexpr (std::integral<T>)
      return static_cast<Index>(value);
    else if constexpr (std::floating_point<T>)
      return static_cast<double>(value);
    else if constexpr (std::constructible_from<std::string, const T&>)
      return std::string(value);
    else if constexpr (requires { value.has_value(); })
      return value ? value_of(*value) : Value();
    else
      return value;
  }
  static std::string printed(const Value& value) {
    return std::visit(
        [](const auto& kept) -> std::string {
          if constexpr (std::same_as<decltype(kept), const std::monostate&>)
            return "none";
          else
            return text(kept);
        },
        value);
  }

  Fields& add(std::string name, Value value, std::string shown) {
    fields_.push_back({std::move(name), std::move(value), std::move(shown)});
    return *this;
  }
  const Value& find(const std::string& name) const {
    std::string there;
    for (const Field& field : fields_) {
      if (field.name == name) return field.value;
      if (!field.name.empty()) there += (there.empty() ? "" : ", ") + field.name;
    }
    fail<ValueError>(*this, ": has no field ", name, ", it has ", there.empty() ? "none" : there);
  }

  std::string type_;
  std::vector<Field> fields_;
};

namespace detail {

/// A type's name without namespaces and template arguments.
inline std::string type_name_of(const std::type_info& type) {
  const std::unique_ptr<char, void (*)(void*)> demangled(abi::__cxa_demangle(type.name(), nullptr, nullptr, nullptr),
                                                         std::free);
  std::string name = demangled ? demangled.get() : type.name();
  name = name.substr(0, name.find('<'));
  const std::size_t colon = name.rfind(':');
  return colon == std::string::npos ? name : name.substr(colon + 1);
}

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI

#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/nn/options.hpp"

namespace lamina {

/// What an option of a layer may be.
using FieldValue = std::variant<bool, Index, double, std::string, Size2, Padding>;

/// One option of a layer, by its name in PyTorch.
struct Field {
  std::string name;
  FieldValue value;
  bool positional;  ///< an argument of the constructor: the name leaves its name away
  bool is_default;  ///< the name of the layer does not mention it

  friend bool operator==(const Field& a, const Field& b) { return a.name == b.name && a.value == b.value; }
};

/// The type of a module and all of its options, said once; the name in messages, equality and exports read them.
///
///   return Fields("Conv2d").argument("in_channels", in_).option("stride", options_.stride, Size2(1));
class Fields {
 public:
  explicit Fields(std::string type) : type_(std::move(type)) {}

  /// An argument of the constructor, in its order.
  Fields argument(std::string name, FieldValue value) && {
    fields_.push_back({std::move(name), std::move(value), true, false});
    return std::move(*this);
  }
  /// A member of the options struct, with its default.
  template <class T>
  Fields option(std::string name, const T& value, const T& default_value) && {
    fields_.push_back({std::move(name), FieldValue(value), false, value == default_value});
    return std::move(*this);
  }

  const std::string& type() const { return type_; }
  const std::vector<Field>& all() const { return fields_; }

  /// An option by name and type. Throws ValueError if there is none.
  template <class T>
  const T& get(std::string_view name) const {
    const auto field = std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.name == name; });
    const T* value = field == fields_.end() ? nullptr : std::get_if<T>(&field->value);
    detail::require(value != nullptr, type_, ": has no option ", name, " of that type");
    return *value;
  }

  /// "Conv2d(3, 64, 7, stride=2)".
  std::string to_string() const {
    std::string out = type_ + "(";
    const char* separator = "";
    for (const Field& field : fields_) {
      if (field.is_default) continue;
      out += separator;
      if (!field.positional) out += field.name + "=";
      std::visit([&](const auto& value) { detail::append(out, value); }, field.value);
      separator = ", ";
    }
    return out + ")";
  }

  friend bool operator==(const Fields& a, const Fields& b) { return a.type_ == b.type_ && a.fields_ == b.fields_; }

 private:
  std::string type_;
  std::vector<Field> fields_;
};

}  // namespace lamina

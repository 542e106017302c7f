#pragma once

#include <utility>
#include <vector>

#include "lamina/nn/options.hpp"
#include "lamina/nn/tensor/select.hpp"

/// Borders around images.
namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Base of those layers: Derived has `type_name` and `mode`.
template <class Derived, class Scalar>
class Pad2d : public Selecting<Derived, Scalar> {
 public:
  std::vector<Entries> entries(const Shape& input) const {
    require<ShapeError>(input.rank() == 4, *this, ": expected images [N, C, H, W], got shape ", input);
    const auto along = [&](int axis, Index before, Index behind) -> Entries {
      if (before == 0 && behind == 0) return std::nullopt;
      return padded_entries(Derived::mode, before, behind, input, axis, *this);
    };
    return {std::nullopt, std::nullopt, along(2, padding_.top, padding_.bottom),
            along(3, padding_.left, padding_.right)};
  }
  Fields fields() const override { return Fields(Derived::type_name).argument("padding", padding_); }
  const Padding& padding() const { return padding_; }

 protected:
  explicit Pad2d(const Padding& padding) : padding_(padding) {
    require(!padding_.same, *this, ": padding \"same\" is not for this layer");
  }

 private:
  Padding padding_;
};

}  // namespace detail

/// Images [N, C, H, W] with `value` around them: [N, C, top + H + bottom, left + W + right]. Throws ShapeError for
/// another rank.
template <class Scalar = float>
class ConstantPad2d : public detail::Pad2d<ConstantPad2d<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "ConstantPad2d";  ///< its name in messages
  static constexpr PadMode mode = PadMode::constant;         ///< what stands in the border

  /// Rows and columns around the image, and what stands there.
  ConstantPad2d(const Padding& padding, double value)
      : detail::Pad2d<ConstantPad2d<Scalar>, Scalar>(padding), value_(static_cast<Scalar>(value)) {}

  Fields fields() const override {
    return detail::Pad2d<ConstantPad2d<Scalar>, Scalar>::fields().argument("value", value_);
  }
  /// What stands in the border.
  Scalar fill() const { return value_; }

 private:
  Scalar value_;
};

/// The same with zeros.
template <class Scalar = float>
class ZeroPad2d : public detail::Pad2d<ZeroPad2d<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "ZeroPad2d";  ///< its name in messages
  static constexpr PadMode mode = PadMode::constant;     ///< what stands in the border

  /// Rows and columns of zeros.
  explicit ZeroPad2d(const Padding& padding) : detail::Pad2d<ZeroPad2d<Scalar>, Scalar>(padding) {}
};

/// Images [N, C, H, W] mirrored at their first and last rows and columns, which are not repeated. Throws ShapeError for
/// another rank or a border that is not smaller than the image.
template <class Scalar = float>
class ReflectionPad2d : public detail::Pad2d<ReflectionPad2d<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "ReflectionPad2d";  ///< its name in messages
  static constexpr PadMode mode = PadMode::reflect;            ///< what stands in the border

  /// Rows and columns around the image.
  explicit ReflectionPad2d(const Padding& padding) : detail::Pad2d<ReflectionPad2d<Scalar>, Scalar>(padding) {}
};

/// Images [N, C, H, W] with their outermost rows and columns repeated. Throws ShapeError for another rank or an image
/// without pixels.
template <class Scalar = float>
class ReplicationPad2d : public detail::Pad2d<ReplicationPad2d<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "ReplicationPad2d";  ///< its name in messages
  static constexpr PadMode mode = PadMode::edge;                ///< what stands in the border

  /// Rows and columns around the image.
  explicit ReplicationPad2d(const Padding& padding) : detail::Pad2d<ReplicationPad2d<Scalar>, Scalar>(padding) {}
};

}  // namespace lamina::inline LAMINA_ABI

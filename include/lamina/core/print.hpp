#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iosfwd>
#include <string>
#include <type_traits>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/tensor.hpp"

namespace lamina::core_detail {

/// NumPy's text of an array (array2string and its defaults: 8 digits behind the point, lines of 75 characters, of more
/// than 1000 elements the first and last three of each axis).
template <class Scalar>
class ArrayText {
 public:
  explicit ArrayText(const Tensor<Scalar>& x) : x_(x), shortened_(x.numel() > 1000) {
    visit(0, 0, [this](Index i) { shown_.push_back(x_.data()[i]); });
    measure();
  }

  std::string text() const { return x_.numel() == 0 ? "[]" : part(0, 0, " ", 75); }

 private:
  static constexpr Index edge = 3;
  static constexpr bool floating = std::is_floating_point_v<Scalar>;

  /// The positions along an axis that are shown; -1 stands for those that are left out.
  std::vector<Index> positions(int axis) const {
    const Index n = x_.dim(axis);
    std::vector<Index> result;
    for (Index i = 0; i < n; ++i) {
      if (!shortened_ || n <= 2 * edge || i < edge || i >= n - edge)
        result.push_back(i);
      else if (i == edge)
        result.push_back(-1);
    }
    return result;
  }

  template <class F>
  void visit(int axis, Index first, F f) const {
    if (axis == x_.rank()) {
      if (x_.numel() > 0) f(first);
      return;
    }
    for (const Index i : positions(axis))
      if (i >= 0) visit(axis + 1, first * x_.dim(axis) + i, f);
  }

  /// Finds what all numbers have in common: their form, and the widths before and behind the point.
  void measure() {
    if constexpr (floating) {
      double largest = 0, least = 0;
      for (const Scalar value : shown_) {
        const double size = std::abs(static_cast<double>(value));
        if (!is_finite(size) || size == 0) continue;
        largest = std::max(largest, size);
        least = least == 0 ? size : std::min(least, size);
      }
      scientific_ = largest >= 1e8 || (least > 0 && (least < 1e-4 || largest / least > 1000));
      for (const Scalar value : shown_)
        if (is_finite(value)) digits_ = std::max(digits_, digits(value));
      for (const Scalar value : shown_)
        if (is_finite(value))
          before_ = std::max(before_, decimal(value).find('.')), behind_ = std::max(behind_, tail(value));
      for (const Scalar value : shown_)  // nan and inf are as wide as a number
        if (!is_finite(value)) before_ = std::max(before_ + behind_ + 1, word(value).size()) - behind_ - 1;
    } else {
      for (const Scalar value : shown_) before_ = std::max(before_, word(value).size());
    }
  }

  static std::string word(Scalar value) {
    if constexpr (floating)
      return is_nan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    else
      return std::to_string(value);
  }

  std::string with_digits(Scalar value, int digits) const {
    char buffer[400];
    std::snprintf(buffer, sizeof buffer, scientific_ ? "%#.*e" : "%#.*f", digits, static_cast<double>(value));
    return buffer;
  }
  /// The least number of digits behind the point that tells the value from all others, at most 8.
  int digits(Scalar value) const {
    int n = 0;
    while (n < 8 && static_cast<Scalar>(std::strtod(with_digits(value, n).c_str(), nullptr)) != value) ++n;
    // Eight may end in zeros.
    std::string mantissa = with_digits(value, n);
    mantissa = mantissa.substr(0, mantissa.find('e'));
    while (n > 0 && mantissa.back() == '0') mantissa.pop_back(), --n;
    return n;
  }
  /// In scientific form all have as many digits.
  std::string decimal(Scalar value) const { return with_digits(value, scientific_ ? digits_ : digits(value)); }
  std::size_t tail(Scalar value) const {
    const std::string number = decimal(value);
    return number.size() - number.find('.') - 1;
  }

  std::string element(Scalar value) const {
    if constexpr (floating) {
      if (is_finite(value)) {
        const std::string number = decimal(value);
        return std::string(before_ - number.find('.'), ' ') + number + std::string(behind_ - tail(value), ' ');
      }
      const std::string name = word(value);
      return std::string(before_ + behind_ + 1 - name.size(), ' ') + name;
    } else {
      const std::string number = word(value);
      return std::string(before_ - number.size(), ' ') + number;
    }
  }

  /// A line that is full goes to `out`.
  static void extend(std::string& out, std::string& line, const std::string& word, std::size_t width,
                     const std::string& indent) {
    if (line.size() + word.size() > width && line.size() > indent.size()) {
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
      line = indent;
    }
    line += word;
  }

  std::string part(int axis, Index first, const std::string& indent, std::size_t width) const {
    if (axis == x_.rank()) return element(x_.data()[first]);
    const std::vector<Index> shown = positions(axis);
    const auto inner = [&](Index i) {
      return i < 0 ? "..." : part(axis + 1, first * x_.dim(axis) + i, indent + " ", width - 1);
    };
    std::string out;
    if (axis + 1 == x_.rank()) {
      std::string line = indent;
      for (std::size_t k = 0; k < shown.size(); ++k) {
        extend(out, line, inner(shown[k]), width - 1, indent);
        if (k + 1 < shown.size()) line += ' ';
      }
      out += line;
    } else {
      const std::string separator(static_cast<std::size_t>(x_.rank() - axis - 1), '\n');
      for (std::size_t k = 0; k < shown.size(); ++k)
        out += indent + inner(shown[k]) + (k + 1 < shown.size() ? separator : "");
    }
    return "[" + out.substr(indent.size()) + "]";
  }

  const Tensor<Scalar>& x_;
  bool shortened_, scientific_ = false;
  std::vector<Scalar> shown_;
  int digits_ = 0;                       // behind the point, in scientific form
  std::size_t before_ = 1, behind_ = 0;  // widths
};

}  // namespace lamina::core_detail

namespace lamina {

/// A tensor's elements as NumPy prints them: rows in brackets, at most 8 digits behind the point, of more than 1000
/// elements the first and last three of each axis; for labels and other integers likewise.
///
///   std::cout << Tensor<float>({2, 2}, {1, 2.5, 3, -4});
///   // [[ 1.   2.5]
///   //  [ 3.  -4. ]]
template <class Char, class Traits, class Scalar>
std::basic_ostream<Char, Traits>& operator<<(std::basic_ostream<Char, Traits>& out, const Tensor<Scalar>& x) {
  return out << core_detail::ArrayText<Scalar>(x).text().c_str();
}

}  // namespace lamina

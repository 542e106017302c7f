#pragma once

/// Not a part of Lamina: the test docs/reference_catches expects Doxygen to name what has no comment here.
namespace lamina::planted {

/// With a comment.
struct Options {
  double rate = 0;  ///< with a comment
  double bare = 0;
};

/// With a comment.
template <class Scalar = float>
class Layer {
 public:
  /// With a comment.
  /// @{
  int rows() const { return 1; }
  int columns() const { return 1; }
  /// @}
  int bare_method() const { return 1; }
};

inline int bare_function() { return 1; }

}  // namespace lamina::planted

#pragma once

#include <memory>
#include <utility>

#include "lamina/nn/graph.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// What blocks share, whichever they are.
template <class Scalar>
class BlockBase : public Module<Scalar> {
 public:
  /// By a flow of shapes.
  Shape output_shape(const Shape& input) const override {
    Shaping<Scalar> flow;
    try {
      return flow.all(*this, Value<Scalar>::of_shape(input))[0].shape();
    } catch (Error& error) {
      locate(error, *this, flow.failed());
      throw;
    }
  }

  /// The sum over the layers of the recorded graph.
  Index multiply_adds(const Shape& input) const override { return record(*this, input).multiply_adds(); }

 private:
  Values<Scalar> run(Flow<Scalar>& flow, Values<Scalar> inputs) const override {
    flow.enter(*this, inputs);
    Values<Scalar> results = flow_of(flow, std::move(inputs));
    flow.leave(*this, results);
    return results;
  }

  virtual Values<Scalar> flow_of(Flow<Scalar>& run, Values<Scalar> in) const = 0;
};

}  // namespace detail

/// Base of a module that says how values flow through its children, once:
///
///   /// x + down(gelu(up(norm(x)))).
///   template <class Scalar = float>
///   class FeedForward : public Block<FeedForward<Scalar>, Scalar> {
///    public:
///     LayerNorm<Scalar> norm;
///     Linear<Scalar> up, down;
///     GELU<Scalar> gelu;
///     Add<Scalar> add;
///
///     Members<Scalar> members() override { return {{"norm", norm}, {"up", up}, {"down", down}}; }
///     Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
///       return run(add, x, run(down, run(gelu, run(up, run(norm, x)))));
///     }
///   };
///
/// infer, forward, backward, output_shape, summary and counts follow; a block with options says them in fields().
/// `flow` takes the run and one, two or three values, or Values of any number; it may be overloaded. It gives a Value
/// or Values. It only looks at values' shapes, and calls no module but through the run. Throws ValueError when it is
/// given another number of values than it takes.
template <class Derived, class Scalar = float>
class Block : public detail::BlockBase<Scalar> {
 public:
  /// By Derived's copy constructor.
  std::unique_ptr<Module<Scalar>> clone() const override { return detail::copy_of<Derived, Scalar>(*this); }

 private:
  Values<Scalar> flow_of(Flow<Scalar>& run, Values<Scalar> in) const override {
    using V = Value<Scalar>;
    const auto& self = static_cast<const Derived&>(*this);
    if constexpr (requires(V v) { self.flow(run, v); })
      if (in.size() == 1) return self.flow(run, std::move(in[0]));
    if constexpr (requires(V v) { self.flow(run, v, v); })
      if (in.size() == 2) return self.flow(run, std::move(in[0]), std::move(in[1]));
    if constexpr (requires(V v) { self.flow(run, v, v, v); })
      if (in.size() == 3) return self.flow(run, std::move(in[0]), std::move(in[1]), std::move(in[2]));
    if constexpr (requires(Values<Scalar> v) { self.flow(run, v); })
      return self.flow(run, std::move(in));
    else
      fail<ValueError>(*this, ": does not take ", in.size(), " values");
  }
};

}  // namespace lamina::inline LAMINA_ABI

#pragma once

#include <string>
#include <utility>

#include "lamina/nn/embedding.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of NegativeLogLikelihood.
struct NegativeLogLikelihoodOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< mean: by the sum of the weights; none: a loss for every label
  std::int32_t ignore_index = -100;               ///< of labels that have no loss
};

/// The loss -w[t] x[n, t, ...] of every label t, or their sum or mean, as a layer: values x [N, C, ...], log
/// probabilities; labels [N, ...]; and maybe weights w [C], else ones. Result: [] or [N, ...]. There is no gradient for
/// labels and weights. Throws ShapeError for shapes that do not fit, ValueError for a label that is no class.
template <class Scalar = float>
class NegativeLogLikelihood : public JointLayer<NegativeLogLikelihood<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit NegativeLogLikelihood(const NegativeLogLikelihoodOptions& options = {}) : options_(options) {}

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2 || x.size() == 3, *this, ": takes log probabilities, labels and maybe weights, got ",
            x.size(), " values");
    const Shape &values = x[0].shape(), &labels = x[1].shape();
    bool fits = values.rank() >= 2 && labels.rank() == values.rank() - 1;
    for (int axis = 0; fits && axis < labels.rank(); ++axis) fits = labels[axis] == values[axis == 0 ? 0 : axis + 1];
    require<ShapeError>(fits && (x.size() == 2 || x[2].shape() == Shape{values[1]}), *this,
                        ": expected shapes [N, C, ...], [N, ...] and [C], got ", values, " and ", labels);
    return reduces() ? Shape{} : labels;
  }
  Fields fields() const override {
    const NegativeLogLikelihoodOptions usual;
    return Fields("NegativeLogLikelihood")
        .option("reduction", std::string(options_.reduction.word()), "mean")
        .option("ignore_index", options_.ignore_index, usual.ignore_index);
  }

  /// What it was made with.
  const NegativeLogLikelihoodOptions& options() const { return options_; }

 private:
  bool reduces() const { return options_.reduction != Reduction::none; }

  /// f(label's place, place of its log probability, weight) for the labels that count.
  template <class F>
  void for_each_label(const Shape& values, const Tensor<Scalar>& labels, const Scalar* weights, F f) const {
    const Labels ids = detail::ids_of(*this, labels);
    const Index classes = values[1], pixels = values.product(2, values.rank());
    for (Index i = 0; i < ids.numel(); ++i) {
      const std::int32_t id = ids.data()[i];
      if (id == options_.ignore_index) continue;
      require(id >= 0 && id < classes, *this, ": label ", id, " at position ", i, " is not one of ", classes,
              " classes");
      f(i, (i / pixels * classes + id) * pixels + i % pixels, weights ? weights[id] : Scalar(1));
    }
  }
  static const Scalar* weights_of(const Values<Scalar>& x) { return x.size() == 3 ? x[2].tensor.data() : nullptr; }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    Tensor<Scalar> y = Tensor<Scalar>::zeros(output_shapes(x)[0]);
    const Scalar* const in = std::as_const(x)[0].tensor.data();
    Scalar* const out = y.data();
    double total = 0, weight = 0;
    for_each_label(x[0].shape(), x[1].tensor, weights_of(x), [&](Index label, Index place, Scalar w) {
      if (!reduces()) out[label] = -w * in[place];
      total -= static_cast<double>(w * in[place]);
      weight += static_cast<double>(w);
    });
    if (reduces()) *out = static_cast<Scalar>(options_.reduction == Reduction::mean ? total / weight : total);
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>& needs) override {
    const auto [x] = tape.template pop<Values<Scalar>>();
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(x[0].shape());
    Scalar* const out = dx.data();
    const Scalar* const gradient = std::as_const(dy).data();
    Scalar total(0);
    for_each_label(x[0].shape(), x[1].tensor, weights_of(x), [&](Index, Index, Scalar w) { total += w; });
    const Scalar share = options_.reduction == Reduction::mean ? 1 / total : Scalar(1);
    for_each_label(x[0].shape(), x[1].tensor, weights_of(x), [&](Index label, Index place, Scalar w) {
      out[place] = -w * (reduces() ? share * gradient[0] : gradient[label]);
    });
    Few<Tensor<Scalar>> result(std::move(dx));
    for (std::size_t i = 1; i < needs.size(); ++i) result.push_back(Tensor<Scalar>::zeros(x[i].shape()));
    return result;
  }

  NegativeLogLikelihoodOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI

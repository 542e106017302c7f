#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/decomposition.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// What backward sees of a ham's iterations (Geng et al. 2021, section 2.3).
enum class HamGradient {
  one_step,  ///< the last coefficients only: the same cost in time and memory after any number of steps
  bptt       ///< every step, by back-propagation through time: exact, and linear in the number of steps
};

/// When a ham that keeps its bases moves them towards those that it found.
enum class OnlineUpdate {
  training,   ///< in forward
  evaluation  ///< in infer_and_update: the condition of the paper's listing, which is likely to be inverted
};

/// Options of the hams NMF, VQ and CD; the listing's names in brackets.
struct HamOptions {
  bool spatial = true;               ///< [SPATIAL] decompose the pixels' vectors of channels, else the channels' images
  Index heads = 1;                   ///< [MD_S] S, groups of channels that are decomposed each on its own
  Index rank = 64;                   ///< [MD_R] R, vectors in the basis
  Index train_steps = 6;             ///< [TRAIN_STEPS] iterations in forward
  Index eval_steps = 7;              ///< [EVAL_STEPS] and in infer
  double inverse_temperature = 100;  ///< [INV_T] of the soft assignment; NMF has 1
  double beta = 0.1;                 ///< [BETA] CD only: ridge added to DᵀD
  HamGradient gradient = HamGradient::one_step;  ///< what of the iterations backward goes through
  /// With bptt: only the last so many steps, from the factors before them as constants, O(gradient_steps); none: all.
  std::optional<Index> gradient_steps{};
  std::uint64_t seed = 0;  ///< of infer's random bases, and of the kept ones
  /// [RAND_INIT] Draw new bases at every call: forward from the tape's generator, others for every sample; infer the
  /// same ones every time and for all samples, so that a result does not depend on the place in the batch. Otherwise
  /// the ham keeps bases [heads, dimension, rank], a buffer, and moves them by `eta` towards what it finds.
  bool random_bases = true;
  Index dimension = 0;  ///< D, entries of a basis vector: C / S, or H * W if not spatial; 0: any, with random bases
  double eta = 0.9;     ///< [ETA]
  OnlineUpdate online_update = OnlineUpdate::training;  ///< when the kept bases move
};

namespace detail {

/// A factor of one item, as tensors [rows, pitch] and the products of them that gradients need.
template <class Scalar>
kernels::MatrixView<const Scalar> rows_of(const Tensor<Scalar>& factor) {
  return kernels::row_major(factor.data(), factor.dim(1));
}
/// a b, where a has `rows` rows.
template <class Scalar>
Tensor<Scalar> product(Index rows, const kernels::MatrixView<const Scalar>& a, const Tensor<Scalar>& b) {
  Tensor<Scalar> result({rows, b.dim(1)});
  kernels::gemm(rows, b.dim(1), b.dim(0), a, rows_of(b), result.data());
  return result;
}
/// aᵀ b.
template <class Scalar>
Tensor<Scalar> inner(const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
  return product(a.dim(1), rows_of(a).transpose(), b);
}

/// The matrices X of a batch, or a gradient with respect to them.
template <class Scalar>
struct HamMatrix {
  const kernels::DecompositionShape& shape;
  const Scalar* x;

  /// Xᵀ left, [n, pitch], and X right, [d, pitch], for an item.
  Tensor<Scalar> project(Index item, const Tensor<Scalar>& left) const {
    return product(shape.n, shape.view(x, item).transpose(), left);
  }
  Tensor<Scalar> combine(Index item, const Tensor<Scalar>& right) const {
    return product(shape.d, shape.view(x, item), right);
  }
};

/// An item of x = or += left rightᵀ, where left is [d, pitch] and right [n, pitch].
template <class Scalar>
void outer(const kernels::DecompositionShape& s, Index item, const Tensor<Scalar>& left, const Tensor<Scalar>& right,
           Scalar* x, kernels::Store store = kernels::Store::assign) {
  Scalar* const to = x + item * s.size();
  if (s.transposed)
    kernels::gemm(s.n, s.d, s.rank, rows_of(right), rows_of(left).transpose(), to, store);
  else
    kernels::gemm(s.d, s.n, s.rank, rows_of(left), rows_of(right).transpose(), to, store);
}

/// The skeleton of the hams (Geng et al. 2021, section 2.2; `_MatrixDecomposition2DBase` in their code): draw or take
/// the bases, iterate without recording, compute the coefficients once more, return X̄ = bases coefficientsᵀ. What
/// Derived gives is checked by derived_is_a_ham().
template <class Derived, class Scalar>
class Ham : public Layer<Derived, Scalar> {
 public:
  Tensor<Scalar> bases;  ///< [S, D, R] if kept, else empty

  Shape output_shape(const Shape& input) const override {
    sizes(input);
    return input;
  }

  Members<Scalar> members() override {
    if (options_.random_bases) return {};
    return {{"bases", &bases}};
  }

  Fields fields() const override {
    const HamOptions& o = options_;
    const bool bptt = o.gradient == HamGradient::bptt;
    return Fields(Derived::type_name)
        .option("rank", o.rank)
        .option("heads", o.heads, 1)
        .option("spatial", o.spatial, true)
        .field("train_steps", o.train_steps, text("steps=", o.train_steps, "/", o.eval_steps))
        .field("eval_steps", o.eval_steps, "")
        .field("inverse_temperature", o.inverse_temperature, "")
        .field("beta", o.beta, "")
        .field("gradient", bptt ? "bptt" : "one_step", bptt ? "bptt" : "")
        .option("gradient_steps", o.gradient_steps, std::nullopt)
        .field("seed", o.seed, "")
        .field("random_bases", o.random_bases, "")
        .field("dimension", o.dimension, o.random_bases ? "" : text("kept bases of ", o.dimension))
        .field("eta", o.eta, "")
        .field("online_update", o.online_update == OnlineUpdate::training ? "training" : "evaluation", "");
  }

  /// What the paper's table 3 counts, with eval_steps iterations: the initial coefficients if they are used, every
  /// step, the last coefficients and the reconstruction.
  Index multiply_adds(const Shape& input) const override {
    const auto s = sizes(input);
    return s.items * Derived::products(s, options_.eval_steps);
  }

  const HamOptions& options() const { return options_; }

  /// The bases [S, d, R] from which infer starts for every sample of an input of this shape.
  Tensor<Scalar> initial_bases(const Shape& input) const {
    const Shapes s = sizes(input);
    return options_.random_bases ? fresh_bases(s, Random(options_.seed)) : bases;
  }

  /// bases += eta (mean of `found` [B, S, D, R] over B - bases), then every vector is normalised. Throws StateError for
  /// a ham that keeps no bases, ShapeError for another shape.
  void online_update(const Tensor<Scalar>& found) {
    require<StateError>(!options_.random_bases, *this, ": online_update without kept bases");
    require<ShapeError>(found.rank() == 4 && found.dim(0) > 0 && found.shape().tail(1) == bases.shape(), *this,
                        ": online_update expected bases of shape ", bases.shape(), " for each sample, got shape ",
                        found.shape());
    Tensor<Scalar> mean = Tensor<Scalar>::zeros(bases.shape());
    for (Index b = 0; b < found.dim(0); ++b) mean += found[b];
    const Scalar share = Scalar(1) / static_cast<Scalar>(found.dim(0));
    using Pack = simd::Pack<Scalar>;
    const auto eta = static_cast<Scalar>(options_.eta);
    Scalar* const kept = bases.data();
    kernels::map(
        bases.numel(), kept, [=](Pack base, Pack sum) { return base + (sum * share - base) * eta; }, kept, mean.data());
    normalize(bases, bases.dim(0), options_.dimension, options_.rank, options_.rank);
  }

  /// infer and, with OnlineUpdate::evaluation, an online update of the kept bases.
  Tensor<Scalar> infer_and_update(Tensor<Scalar> x) {
    const auto [s, factors] = decompose(x);
    if (options_.online_update == OnlineUpdate::evaluation && s.items > 0) online_update(found(s, factors));
    return reconstruct(s, factors, std::move(x));
  }

 protected:
  using Shapes = kernels::DecompositionShape;
  using Factors = kernels::Factors<Scalar>;

  /// What backward of the last step needs; and the states after every step, where they are differentiated.
  struct Saved {
    Shapes shape;
    Factors factors;
    Tensor<Scalar> last;
  };
  struct History {
    Tensor<Scalar> x, first_bases;
    std::vector<Factors> steps;
    Tensor<Scalar> first_coefficients{};  ///< constants, where backward does not go through all steps

    /// An item's bases before step t, and the coefficients that step t computed.
    Tensor<Scalar> bases(Index t, Index item) const {
      return t == 0 ? first_bases[item] : steps[static_cast<std::size_t>(t - 1)].bases[item];
    }
    Tensor<Scalar> coefficients(Index t, Index item) const {
      return steps[static_cast<std::size_t>(t)].coefficients[item];
    }
    Index size() const { return static_cast<Index>(steps.size()); }
  };

  explicit Ham(const HamOptions& options) : options_(options) {
    derived_is_a_ham();
    require(options_.heads >= 1, Derived::type_name, ": heads must be at least 1, got ", options_.heads);
    require(options_.rank >= 1, Derived::type_name, ": rank must be at least 1, got ", options_.rank);
    require(options_.train_steps >= 0 && options_.eval_steps >= 0, Derived::type_name,
            ": steps must not be negative, got ", options_.train_steps, " and ", options_.eval_steps);
    require(options_.gradient_steps.value_or(0) >= 0, Derived::type_name, ": gradient_steps must not be negative, got ",
            options_.gradient_steps.value_or(0));
    require(!options_.gradient_steps || options_.gradient == HamGradient::bptt, Derived::type_name,
            ": gradient_steps is for the gradient bptt");
    require(options_.beta > 0, Derived::type_name, ": beta must be positive, got ", options_.beta);
    require(options_.dimension >= (options_.random_bases ? 0 : 1), Derived::type_name,
            ": kept bases need their dimension, C / heads or, if not spatial, H * W");
    if (options_.random_bases) return;
    Random random(options_.seed);
    bases = Derived::draw(random, {options_.heads, options_.dimension, options_.rank});
    normalize(bases, options_.heads, options_.dimension, options_.rank, options_.rank);
  }

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }

  static constexpr void derived_is_a_ham() {
    using Algorithm = typename Derived::Algorithm;
    static_assert(kernels::DecompositionAlgorithm<Algorithm, Scalar>);
    static_assert(requires(const Derived& ham, const HamOptions& o, const Shapes& s, const Tensor<Scalar>& x,
                           const Scalar* dy, Scalar* dx, Random& random, Index i, const Saved& saved,
                           const History& history, Algorithm algorithm) {
      { Derived::type_name } -> std::convertible_to<const char*>;
      Algorithm(o, s, dy, true);                                              // of the matrices x; training
      { algorithm.saved } -> std::convertible_to<Tensor<Scalar>>;             // for backward
      { Derived::products(s, i) } -> std::same_as<Index>;                     // multiply-adds of an item in i steps
      { Derived::draw(random, x.shape()) } -> std::same_as<Tensor<Scalar>>;   // bases, not normalised yet
      { Derived::found_bases(s, x) } -> std::convertible_to<Tensor<Scalar>>;  // what online_update averages
      ham.check(x);                                                           // throws if x may not be decomposed
      ham.one_step_backward(saved, i, dy, dx);                                // of item i
      ham.full_backward(saved, history, i, dy, dx);
    });
  }

  Shapes sizes(const Shape& input) const {
    require<ShapeError>(input.rank() == 4 && input[2] > 0 && input[3] > 0, *this,
                        ": expected an input [N, C, H, W], got shape ", input);
    require<ShapeError>(input[1] > 0 && input[1] % options_.heads == 0, *this, ": expected channels for ",
                        options_.heads, " equal heads, got shape ", input);
    const Index channels = input[1] / options_.heads, pixels = input[2] * input[3];
    const Index d = options_.spatial ? channels : pixels, n = options_.spatial ? pixels : channels;
    require<ShapeError>(options_.dimension == 0 || d == options_.dimension, *this, ": expected ",
                        options_.spatial ? "C / heads" : "H * W", " to be ", options_.dimension, ", got shape ", input);
    return {input[0] * options_.heads, d, n, options_.rank, kernels::factor_pitch<Scalar>(options_.rank),
            !options_.spatial};
  }

  /// Every vector divided by its norm: matrices [items, rows, columns] with rows of `pitch`.
  static void normalize(Tensor<Scalar>& matrices, Index items, Index rows, Index columns, Index pitch) {
    for (Index item = 0; item < items; ++item) {
      Scalar* const matrix = matrices.data() + item * rows * pitch;
      std::vector<Scalar> squares(static_cast<std::size_t>(columns));
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j)
          squares[static_cast<std::size_t>(j)] += matrix[i * pitch + j] * matrix[i * pitch + j];
      for (auto& square : squares) square = 1 / std::max(std::sqrt(square), Scalar(1e-12));
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j) matrix[i * pitch + j] *= squares[static_cast<std::size_t>(j)];
    }
  }

  /// Fresh bases of a sample, [S, D, R].
  Tensor<Scalar> fresh_bases(const Shapes& s, Random random) const {
    Tensor<Scalar> result = Derived::draw(random, {options_.heads, s.d, s.rank});
    normalize(result, options_.heads, s.d, s.rank, s.rank);
    return result;
  }
  /// The bases to start from, [items, d, pitch]: of_sample(b) is [S, D, R].
  template <class OfSample>
  Tensor<Scalar> first_bases(const Shapes& s, OfSample of_sample) const {
    Tensor<Scalar> result = Tensor<Scalar>::zeros({s.items, s.d, s.pitch});
    Scalar* const to = result.data();
    const Index rows = options_.heads * s.d;
    for (Index b = 0; b < s.items / options_.heads; ++b) {
      const Tensor<Scalar> own = of_sample(b);
      kernels::copy_rows(rows, s.rank, own.data(), s.rank, to + b * rows * s.pitch, s.pitch);
    }
    return result;
  }
  /// Those of infer: the same for every sample.
  Tensor<Scalar> first_bases(const Shapes& s) const {
    const Tensor<Scalar> shared = options_.random_bases ? fresh_bases(s, Random(options_.seed)) : bases;
    return first_bases(s, [&](Index) { return shared; });
  }
  /// Those of forward: sample b's are a function of the generator and b.
  Tensor<Scalar> first_bases(const Shapes& s, Random& random) const {
    if (!options_.random_bases) return first_bases(s);
    const Random draws = random.split(random.position());
    random.uniform();  // the next split is another
    return first_bases(s, [&](Index b) { return fresh_bases(s, draws.split(static_cast<std::uint64_t>(b))); });
  }
  /// [B, S, D, R] again.
  Tensor<Scalar> found(const Shapes& s, const Factors& factors) const {
    Tensor<Scalar> padded = self().found_bases(s, factors.bases);
    Tensor<Scalar> result({s.items / options_.heads, options_.heads, s.d, s.rank});
    kernels::copy_rows(s.items * s.d, s.rank, std::as_const(padded).data(), s.pitch, result.data(), s.rank);
    return result;
  }

  static Tensor<Scalar> copy(const Tensor<Scalar>& t) { return Tensor<Scalar>(t.shape(), t.values()); }

  std::pair<Shapes, Factors> decompose(const Tensor<Scalar>& x) const {
    const Shapes s = sizes(x.shape());
    self().check(x);
    Factors factors{Tensor<Scalar>({s.items, s.n, s.pitch}), first_bases(s)};
    typename Derived::Algorithm algorithm(options_, s, x.data(), false);
    kernels::decompose(s, x.data(), options_.eval_steps, algorithm, factors, [](const Factors&) {});
    return {s, std::move(factors)};
  }

  /// X̄, in x's storage if nobody else holds it.
  static Tensor<Scalar> reconstruct(const Shapes& s, const Factors& factors, Tensor<Scalar> x) {
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    Scalar* const out = y.data();
    for (Index item = 0; item < s.items; ++item) outer(s, item, factors.bases[item], factors.coefficients[item], out);
    return y;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const auto [s, factors] = decompose(x);
    return reconstruct(s, factors, std::move(x));
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    const Shapes s = sizes(x.shape());
    self().check(x);
    Factors factors{Tensor<Scalar>({s.items, s.n, s.pitch}),
                    this->frozen() ? first_bases(s) : first_bases(s, tape.random())};
    const bool full = options_.gradient == HamGradient::bptt;
    History history;
    if (full) history = {x, copy(factors.bases), {}, {}};
    typename Derived::Algorithm algorithm(options_, s, std::as_const(x).data(), true);
    const Index steps = this->frozen() ? options_.eval_steps : options_.train_steps;
    Index constant = full ? std::max<Index>(0, steps - options_.gradient_steps.value_or(steps)) : steps;
    kernels::decompose(s, std::as_const(x).data(), steps, algorithm, factors, [&](const Factors& f) {
      if (--constant < 0)
        history.steps.push_back({copy(f.coefficients), copy(f.bases)});
      else if (full && constant == 0)
        history.first_bases = copy(f.bases), history.first_coefficients = copy(f.coefficients);
    });
    const bool updates = options_.online_update == OnlineUpdate::training && !this->frozen() && !tape.replays();
    if (!options_.random_bases && updates && s.items > 0) online_update(found(s, factors));
    if (full) tape.push(std::move(history));
    tape.push(Saved{s, factors, std::move(algorithm.saved)});
    return reconstruct(s, factors, std::move(x));
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [saved] = tape.pop<Saved>();
    History history;
    if (options_.gradient == HamGradient::bptt) std::tie(history) = tape.pop<History>();
    if (input_grad == InputGrad::skip) return {};
    const Scalar* const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx = dy.exclusive() ? std::move(dy) : Tensor<Scalar>(dy.shape());
    Scalar* const out = dx.data();
    for (Index item = 0; item < saved.shape.items; ++item)
      if (options_.gradient == HamGradient::bptt)
        self().full_backward(saved, history, item, gradient, out);
      else
        self().one_step_backward(saved, item, gradient, out);
    return dx;
  }

  HamOptions options_;
};

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI

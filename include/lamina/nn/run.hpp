#pragma once

// Module's infer, forward and backward: the flows that compute, and the one reverse sweep. Included by module.hpp.

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/core/denormals.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/functions.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// a + b of the same shape, in the storage of whichever nobody else holds.
template <class Scalar>
Tensor<Scalar> add(Tensor<Scalar> a, Tensor<Scalar> b) {
  if (!a.exclusive()) std::swap(a, b);
  return kernels::transform(std::move(a), kernels::Sum{}, b);
}

/// Finds a module below (and at) another by its members: whether it is there, and its path.
template <class Scalar>
bool find_path(const Module<Scalar>& root, const Module<Scalar>* wanted, std::string& path) {
  if (&root == wanted) return true;
  for (const auto& member : members_of(root)) {
    auto* const* child = std::get_if<Module<Scalar>*>(&member.part);
    if (!child) continue;
    const std::size_t before = path.size();
    if (!path.empty() && !member.name.empty()) path += '.';
    path += member.name;
    if (find_path(**child, wanted, path)) return true;
    path.resize(before);
  }
  return false;
}

/// Says in an error where below `root` it happened: at the first of the modules that is there.
template <class Scalar>
void locate(Error& error, const Module<Scalar>& root, const std::vector<const Module<Scalar>*>& failed) {
  for (const Module<Scalar>* module : failed) {
    std::string path;
    if (!find_path(root, module, path)) continue;
    error.locate(path);
    return;
  }
}

template <class Scalar>
Few<Tensor<Scalar>> tensors_of(Values<Scalar> values) {
  Few<Tensor<Scalar>> result;
  for (std::size_t i = 0; i < values.size(); ++i) result.push_back(std::move(values[i].tensor));
  return result;
}

/// A layer that waits for an activation which it can apply, a join, or one whose result may be in blocks or not.
template <class Scalar>
struct Pending {
  const Primitive<Scalar>* layer;
  Values<Scalar> inputs;
  Activation activation = Activation::none;
  Value<Scalar> result = {};
  bool done = false;

  bool joins() const { return !done && layer->joins() == Joins::only; }
};

/// Sorts images out of blocks or into them, between layers of which one takes them only so.
template <class Scalar>
class Sorted final : public Cloned<Sorted<Scalar>, Scalar, Primitive<Scalar>> {
 public:
  static Sorted& layer() {
    static Sorted sorted;
    return sorted;
  }
  Shape output_shape(const Shape& input) const override { return input; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override { return x[0].shape(); }
  Members<Scalar> members() override { return {}; }
  Blocks blocks(const Values<Scalar>&) const override { return Blocks::either; }
  Values<Scalar> infer_values(Values<Scalar> x, Activation) const override {
    return Value<Scalar>(x[0].blocked() ? to_planes(x[0].tensor, x[0].shape()) : to_blocks(x[0].tensor));
  }
  Values<Scalar> forward_values(Values<Scalar> x, Tape& tape, Activation activation) override {
    tape.push(x[0].shape());
    return infer_values(std::move(x), activation);
  }
  Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [images] = tape.pop<Shape>();
    return in_blocks(dy[0]) ? to_planes(dy[0], images) : to_blocks(dy[0]);
  }
};

/// A flow of tensors. A layer that can apply an activation waits until its value is used: the activation that comes
/// next, if nobody else has the value, is then computed with it. A join waits for the first that needs it as a whole.
/// In training a layer that takes blocks waits for the first that uses its result: what wants planes gets them from the
/// convolution on, through activations and norms, and what convolves gets blocks.
template <class Scalar>
class Computing : public Flow<Scalar> {
 public:
  /// The values, with all that waits computed; perhaps in blocks, if they may be.
  Values<Scalar> settled(Values<Scalar> values, bool blocked = false) {
    for (std::size_t i = 0; i < values.size(); ++i) settle(values[i], blocked);
    return values;
  }

 protected:
  /// The layer's results, in blocks if they may be and the layer can.
  virtual Values<Scalar> compute(const Primitive<Scalar>& layer, Values<Scalar> inputs, Activation activation,
                                 bool blocked) = 0;
  /// Whether values may be in blocks.
  virtual bool sorts() const { return false; }

 private:
  Values<Scalar> layer(const Primitive<Scalar>& layer, Values<Scalar> inputs) final {
    const Activation activation = layer.activation();
    if (activation != Activation::none) {
      const auto pending = std::move(inputs[0].pending_);
      const bool alone = pending && pending.use_count() == 1 && !pending->done;
      if (alone && pending->activation == Activation::none && pending->layer->applies(activation)) {
        if (!sorts()) return run(*pending->layer, std::move(pending->inputs), activation, false);
        pending->activation = activation;
        inputs[0].pending_ = std::move(pending);
        return inputs;
      }
      inputs[0].pending_ = std::move(pending);
    }
    const bool joins = layer.joins() == Joins::only, sortable = sorts() && layer.blocks(inputs) != Blocks::no;
    if (joins || !sortable) prepare(layer, inputs, true);
    if (!layer.applies(Activation::relu) && !joins && !sortable)
      return run(layer, std::move(inputs), Activation::none, false);
    const Few<Shape> shapes = layer.output_shapes(inputs);
    if (shapes.size() > 1) return run(layer, std::move(inputs), Activation::none, false);
    Value<Scalar> waiting = Value<Scalar>::of_shape(shapes[0], inputs[0].sequences);
    if (joins) inputs = flat(std::move(inputs));
    waiting.pending_ = std::make_shared<Pending<Scalar>>(Pending<Scalar>{&layer, std::move(inputs)});
    return waiting;
  }

  /// Computes what a layer's inputs wait for, but a join of which it takes the parts. They are in blocks if the layer
  /// takes them so and its result may be (`blocked`), or is much smaller than they are.
  void prepare(const Primitive<Scalar>& layer, Values<Scalar>& inputs, bool blocked) {
    const Blocks blocks = sorts() ? layer.blocks(inputs) : Blocks::no;
    const auto shrinks = [&] { return 2 * layer.output_shapes(inputs)[0].numel() <= inputs[0].shape().numel(); };
    const bool in_blocks = blocks == Blocks::either || (blocks == Blocks::keeps && (blocked || shrinks()));
    for (const int turn : {1, 2})  // a join may have been computed for what another input waits for
      for (std::size_t i = 0; i < inputs.size(); ++i)
        if (turn == 1 || inputs[i].pending_)
          if (layer.joins() == Joins::no || !inputs[i].parts()) settle(inputs[i], in_blocks);
    if (!sorts()) return;
    // A join's parts are computed; perhaps not alike, nor as this layer wants them.
    bool any = false, all = true;
    const auto for_each = [&](auto f) {
      for (std::size_t i = 0; i < inputs.size(); ++i)
        if (const auto* parts = inputs[i].parts())
          for (std::size_t j = 0; j < parts->size(); ++j) f(inputs[i].pending_->inputs[j]);
        else
          f(inputs[i]);
    };
    for_each([&](const Value<Scalar>& value) {
      any |= value.blocked_;
      all &= value.blocked_;
    });
    if (!any || blocks == Blocks::either || (all && in_blocks)) return;
    inputs = Training<Scalar>::own(std::move(inputs));
    for_each([&](Value<Scalar>& value) {
      if (value.blocked_ != in_blocks) sort(value);
    });
  }

  /// Into blocks, or out of them.
  void sort(Value<Scalar>& value) {
    const bool blocked = !value.blocked_;
    value = std::move(compute(Sorted<Scalar>::layer(), Values<Scalar>(std::move(value)), Activation::none, blocked)[0]);
  }

  /// Values, with their parts in the place of joins.
  static Values<Scalar> flat(Values<Scalar> values) {
    Values<Scalar> result;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (const auto* parts = values[i].parts())
        for (std::size_t j = 0; j < parts->size(); ++j) result.push_back((*parts)[j]);
      else
        result.push_back(std::move(values[i]));
    return result;
  }

  void settle(Value<Scalar>& value, bool blocked) {
    if (const auto pending = std::move(value.pending_)) {
      if (!pending->done) {
        Values<Scalar> inputs = std::move(pending->inputs);
        pending->result = std::move(run(*pending->layer, std::move(inputs), pending->activation, blocked)[0]);
        pending->done = true;
      }
      if (pending.use_count() == 1)
        value = std::move(pending->result);
      else
        value = pending->result;
    }
    if (value.blocked_ && !blocked) sort(value);
  }

  Values<Scalar> run(const Primitive<Scalar>& layer, Values<Scalar> inputs, Activation activation, bool blocked) {
    prepare(layer, inputs, blocked);
    try {
      return compute(layer, std::move(inputs), activation, blocked);
    } catch (Error&) {
      this->failed_at(layer);
      throw;
    }
  }
};

template <class Scalar>
class Inference final : public Computing<Scalar> {
 private:
  Values<Scalar> compute(const Primitive<Scalar>& layer, Values<Scalar> inputs, Activation activation, bool) override {
    return layer.infer_values(std::move(inputs), activation);
  }
};

/// A flow of shapes.
template <class Scalar>
class Shaping final : public Flow<Scalar> {
 private:
  Values<Scalar> layer(const Primitive<Scalar>& layer, Values<Scalar> inputs) override {
    const Few<Shape> shapes = layer.output_shapes(inputs);
    Values<Scalar> results;
    for (std::size_t i = 0; i < shapes.size(); ++i)
      results.push_back(Value<Scalar>::of_shape(shapes[i], inputs[0].sequences));
    return results;
  }
};

/// The flow of forward, which numbers the values and notes the layers on the tape; and the sweep back over them.
template <class Scalar>
class Training final : public Computing<Scalar> {
 public:
  /// The results are in blocks only if they may be.
  static Values<Scalar> forward(Module<Scalar>& module, Values<Scalar> inputs, Tape& tape,
                                InputGrad input_grad = InputGrad::compute, bool blocked = false) {
    const FlushDenormals flush;
    tape.check_waiting(module);
    const Tape::Mark begin = tape.mark();
    Training flow(tape);
    try {
      const bool input_saved = input_grad == InputGrad::compute;
      const Few<Index> in = flow.numbered(inputs, input_saved);
      Values<Scalar> results = flow.settled(flow.all(module, std::move(inputs)), blocked);
      Few<Shape> shapes;
      for (std::size_t i = 0; i < results.size(); ++i) shapes.push_back(results[i].tensor.shape());
      tape.push_frame({&module, begin, static_cast<Index>(flow.needed_.size()), in, numbers(results), std::move(shapes),
                       input_saved});
      return results;
    } catch (Error& error) {
      tape.rewind(begin);
      locate(error, module, flow.failed());
      throw;
    } catch (...) {
      tape.rewind(begin);
      throw;
    }
  }

  /// To `before`, gradients of the inputs, those of this module are added.
  static Few<Tensor<Scalar>> backward(Module<Scalar>& module, Few<Tensor<Scalar>> dy, Tape& tape, Few<InputGrad> needs,
                                      Few<Tensor<Scalar>> before = {}) {
    const FlushDenormals flush;
    const Tape::Frame frame = tape.take_frame(module);
    while (needs.size() < frame.inputs.size()) needs.push_back(needs[0]);
    const auto caller = std::tuple(tape.floor_, tape.current_, tape.sums_);
    std::vector<const Module<Scalar>*> failed;
    const auto restore = [&] {
      std::tie(tape.floor_, tape.current_, tape.sums_) = caller;
      tape.rewind(frame.begin);
    };
    try {
      for (std::size_t i = 0; i < needs.size(); ++i)
        require<StateError>(frame.input_saved || needs[i] == InputGrad::skip, module,
                            ": backward wants dx, but forward was told InputGrad::skip");
      require(dy.size() <= frame.outputs.size(), module, ": has ", frame.outputs.size(), " results, got ", dy.size(),
              " gradients");
      for (std::size_t i = 0; i < dy.size(); ++i)
        require<ShapeError>(dy[i].shape() == frame.shapes[i], module, ": backward expected a gradient of shape ",
                            frame.shapes[i], ", got shape ", dy[i].shape());
      Few<Tensor<Scalar>> dx = sweep(frame, std::move(dy), std::move(before), tape, needs, failed);
      restore();
      return dx;
    } catch (Error& error) {
      restore();
      locate(error, module, failed);
      throw;
    } catch (...) {
      restore();
      throw;
    }
  }

  bool training() const override { return true; }

  /// Values whose joins nobody else will compute.
  static Values<Scalar> own(Values<Scalar> values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i].parts()) values[i].pending_ = std::make_shared<Pending<Scalar>>(*values[i].pending_);
    return values;
  }

 private:
  explicit Training(Tape& tape) : tape_(tape) {}

  bool sorts() const override { return true; }

  Values<Scalar> compute(const Primitive<Scalar>& layer, Values<Scalar> inputs, Activation activation,
                         bool blocked) override {
    // A flow is said for const modules; forward() was called on one that is not, and this layer is a part of it.
    auto& own = const_cast<Primitive<Scalar>&>(layer);
    Tape::Node node{&own, tape_.mark(), numbers(inputs), {}, {}};
    bool needed = false;
    for (std::size_t i = 0; i < node.inputs.size(); ++i)
      needed |= node.inputs[i] >= 0 && needed_[static_cast<std::size_t>(node.inputs[i])];
    needed = needed || trainable(layer);
    const Values<Scalar> held = spare(inputs);
    const bool sortable = layer.blocks(inputs) != Blocks::no;
    const Few<Shape> shapes = sortable ? layer.output_shapes(inputs) : Few<Shape>();
    tape_.in_blocks_ = sortable && blocked;
    Values<Scalar> results = own.forward_values(std::move(inputs), tape_, activation);
    tape_.spared_.clear();
    for (std::size_t i = 0; i < results.size(); ++i) results[i].moments_ = {};  // a layer may make its result of x
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      results[i].blocked_ = results[i].tensor.rank() == 5 && shapes[i].rank() == 4;
      results[i].shape_ = shapes[i];
    }
    node.outputs = numbered(results, needed);
    if (!needed) {
      tape_.rewind(node.begin);
      return results;
    }
    for (std::size_t i = 0; results.size() > 1 && i < results.size(); ++i) node.shapes.push_back(results[i].shape());
    tape_.nodes_.push_back(std::move(node));
    return results;
  }

  /// Tells the tape which of a layer's inputs need not be saved, and returns them.
  Values<Scalar> spare(Values<Scalar>& inputs) {
    tape_.spared_.clear();
    Values<Scalar> held;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      Again again = std::exchange(inputs[i].again_, {});  // a layer may make its result of the input
      if (!again || inputs[i].tensor.empty()) continue;
      held.push_back(inputs[i]);
      tape_.spared_.push_back({std::as_const(inputs[i].tensor).data(), inputs[i].tensor.shape(), std::move(again)});
    }
    return held;
  }

  /// Gives values numbers, or their parts; whether anybody may want their gradients.
  Few<Index> numbered(Values<Scalar>& values, bool needed) {
    const auto number = [&](Value<Scalar>& value) {
      value.id_ = static_cast<Index>(needed_.size());
      if (!value.moments_) value.moments_ = std::make_shared<std::vector<double>>();
      needed_.push_back(needed);
    };
    values = own(std::move(values));
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i].parts()) {
        Values<Scalar>& parts = values[i].pending_->inputs;
        for (std::size_t j = 0; j < parts.size(); ++j) number(parts[j]);
      } else {
        number(values[i]);
      }
    return numbers(values);
  }
  static Few<Index> numbers(const Values<Scalar>& values) {
    Few<Index> result;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (const auto* parts = values[i].parts())
        for (std::size_t j = 0; j < parts->size(); ++j) result.push_back((*parts)[j].id_);
      else
        result.push_back(values[i].id_);
    return result;
  }

  /// Which values of a forward need a gradient: those that follow from an input that does, or from something learned.
  static std::vector<char> needed_values(const Tape::Frame& frame, const Tape& tape, const Few<InputGrad>& needs) {
    std::vector<char> needed(static_cast<std::size_t>(frame.values));
    const auto at = [&](Index id) -> char& { return needed[static_cast<std::size_t>(id)]; };
    for (std::size_t i = 0; i < frame.inputs.size(); ++i) at(frame.inputs[i]) = needs[i] == InputGrad::compute;
    std::vector<const Tape::Node*> nodes;  // of this forward, not of those that ran inside a layer of it
    for (std::size_t i = tape.nodes_.size(); i > frame.begin.nodes; i = nodes.back()->begin.nodes)
      nodes.push_back(&tape.nodes_[i - 1]);
    for (std::size_t i = nodes.size(); i-- > 0;) {
      const Tape::Node& node = *nodes[i];
      bool any = false;
      for (std::size_t j = 0; j < node.inputs.size(); ++j) any |= node.inputs[j] >= 0 && at(node.inputs[j]);
      any = any || trainable(*static_cast<const Primitive<Scalar>*>(node.layer));
      for (std::size_t j = 0; j < node.outputs.size(); ++j) at(node.outputs[j]) = any;
    }
    return needed;
  }

  /// Whether a gradient has been given; that of an empty batch has a shape of its own.
  static bool given(const Tensor<Scalar>& gradient) { return gradient.shape() != Tensor<Scalar>().shape(); }

  static Few<Tensor<Scalar>> sweep(const Tape::Frame& frame, Few<Tensor<Scalar>> dy, Few<Tensor<Scalar>> before,
                                   Tape& tape, const Few<InputGrad>& needs,
                                   std::vector<const Module<Scalar>*>& failed) {
    const std::vector<char> needed = needed_values(frame, tape, needs);
    std::vector<Tensor<Scalar>> gradients(needed.size());
    const auto gradient = [&](Index id) -> Tensor<Scalar>& { return gradients[static_cast<std::size_t>(id)]; };
    const auto accumulate = [&](Index id, Tensor<Scalar> part) {
      if (id < 0 || !needed[static_cast<std::size_t>(id)] || !given(part)) return;
      Tensor<Scalar>& sum = gradient(id);
      sum = given(sum) ? add(std::move(sum), std::move(part)) : std::move(part);
    };
    for (std::size_t i = 0; i < before.size(); ++i) accumulate(frame.inputs[i], std::move(before[i]));
    for (std::size_t i = 0; i < dy.size(); ++i) accumulate(frame.outputs[i], std::move(dy[i]));

    auto observed = tape.observed();
    const auto finish = [&](const Tape::Node& node) {
      const auto left = observed.find(node.layer);
      if (left != observed.end() && --left->second == 0 && tape.finished_) tape.finished_(*node.layer);
    };
    while (tape.nodes_.size() > frame.begin.nodes) {
      const Tape::Node node = std::move(tape.nodes_.back());
      tape.nodes_.pop_back();
      bool used = false;
      for (std::size_t i = 0; i < node.outputs.size(); ++i) used |= given(gradient(node.outputs[i]));
      if (!used) {
        tape.rewind(node.begin);
        finish(node);
        continue;
      }
      auto& layer = *static_cast<Primitive<Scalar>*>(node.layer);
      failed.assign(1, &layer);
      Few<Tensor<Scalar>> results;
      for (std::size_t i = 0; i < node.outputs.size(); ++i) {
        Tensor<Scalar>& result = gradient(node.outputs[i]);
        results.push_back(given(result) ? std::exchange(result, {}) : Tensor<Scalar>::zeros(node.shapes[i]));
      }
      Few<InputGrad> wanted;
      for (std::size_t i = 0; i < node.inputs.size(); ++i)
        wanted.push_back(node.inputs[i] >= 0 && needed[static_cast<std::size_t>(node.inputs[i])] ? InputGrad::compute
                                                                                                 : InputGrad::skip);
      Few<Tensor<Scalar>> sums;  // what other layers gave, for this one to add to
      for (std::size_t i = 0; i < node.inputs.size(); ++i)
        sums.push_back(wanted[i] == InputGrad::compute ? std::exchange(gradient(node.inputs[i]), {})
                                                       : Tensor<Scalar>());
      tape.floor_ = node.begin.entries;
      tape.current_ = &layer;
      tape.sums_ = &sums;
      Few<Tensor<Scalar>> parts = layer.backward_values(std::move(results), tape, wanted);
      tape.sums_ = nullptr;
      for (std::size_t i = 0; i < sums.size(); ++i) accumulate(node.inputs[i], std::move(sums[i]));
      require<StateError>(tape.entries_.size() == node.begin.entries && tape.frames_.size() == node.begin.frames,
                          "Tape: ", layer, " pops less in backward than it pushed in forward");
      for (std::size_t i = 0; i < parts.size(); ++i) accumulate(node.inputs[i], std::move(parts[i]));
      finish(node);
    }
    failed.clear();
    Few<Tensor<Scalar>> dx;
    for (std::size_t i = 0; i < frame.inputs.size(); ++i)
      dx.push_back(needs[i] == InputGrad::compute ? std::move(gradient(frame.inputs[i])) : Tensor<Scalar>());
    return dx;
  }

  Tape& tape_;
  std::vector<char> needed_;  // of the values
};

}  // namespace detail

template <class Scalar>
const Few<Value<Scalar>>* Value<Scalar>::parts() const {
  return pending_ && pending_->joins() ? &pending_->inputs : nullptr;
}

template <class Scalar>
Few<Tensor<Scalar>> Module<Scalar>::infer(Values<Scalar> inputs) const {
  const FlushDenormals flush;
  detail::Inference<Scalar> flow;
  try {
    return detail::tensors_of(flow.settled(flow.all(*this, std::move(inputs))));
  } catch (Error& error) {
    detail::locate(error, *this, flow.failed());
    throw;
  }
}
template <class Scalar>
Tensor<Scalar> Module<Scalar>::infer(Value<Scalar> x) const {
  return std::move(infer(Values<Scalar>(std::move(x)))[0]);
}

template <class Scalar>
Few<Tensor<Scalar>> Module<Scalar>::forward(Values<Scalar> inputs, Tape& tape, InputGrad input_grad) {
  return detail::tensors_of(detail::Training<Scalar>::forward(*this, std::move(inputs), tape, input_grad));
}
template <class Scalar>
Tensor<Scalar> Module<Scalar>::forward(Value<Scalar> x, Tape& tape, InputGrad input_grad) {
  return std::move(forward(Values<Scalar>(std::move(x)), tape, input_grad)[0]);
}

template <class Scalar>
Tensor<Scalar> Module<Scalar>::forward(Value<Scalar> x1, Value<Scalar> x2, Tape& tape, InputGrad input_grad) {
  return std::move(forward(Values<Scalar>(std::move(x1), std::move(x2)), tape, input_grad)[0]);
}

template <class Scalar>
Few<Tensor<Scalar>> Module<Scalar>::backward(Few<Tensor<Scalar>> dy, Tape& tape, InputGrad input_grad) {
  return detail::Training<Scalar>::backward(*this, std::move(dy), tape, input_grad);
}
template <class Scalar>
Tensor<Scalar> Module<Scalar>::backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) {
  return std::move(backward(Few<Tensor<Scalar>>(std::move(dy)), tape, input_grad)[0]);
}

}  // namespace lamina::inline LAMINA_ABI

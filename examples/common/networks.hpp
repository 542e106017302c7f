#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lamina/nn/state.hpp"

/// The published networks by name, compiled once for the example programs.
namespace lamina::examples {

/// What can be chosen about a network. Throws ValueError for what the network does not have.
struct NetworkOptions {
  Index channels, classes;
  std::optional<Index> side = {};      ///< of the images; default: what the network was published for
  double width = 1;                    ///< factor of its channels
  std::optional<Index> hidden = {};    ///< units of AlexNet's and VGG's two hidden layers
  std::optional<double> dropout = {};  ///< probability in place of the network's own
  bool auxiliary_heads = false;        ///< GoogLeNet's, in training
};

struct Network {
  std::string name;
  Index channels, classes, side;  ///< of the images and labels that it was published for
  Index parameters;               ///< for these
  double lr;                      ///< for plain SGD, as in the listings of "Dive into Deep Learning"
  std::string note;
  std::function<std::unique_ptr<Module<float>>(const std::string& name, const NetworkOptions&)> build;

  std::unique_ptr<Module<float>> make(const NetworkOptions& options) const { return build(name, options); }
};
const std::vector<Network>& networks();
std::vector<std::string> names_of(const std::vector<Network>& networks);
const Network& find_network(const std::string& name);

/// A line for each network with its parameters, for --help.
std::string table_of(const std::vector<Network>& networks);

/// Throws ShapeError for images [channels, side, side] that the network cannot take; `option` is what sets the side.
void check_side(const Module<float>& net, const Network& network, Index channels, Index side,
                const std::string& option);

enum class Head {
  load,
  keep  ///< the last layer stays as it is, whatever the file has: to learn other classes
};

/// Sets a network's parameters and buffers from a safetensors file. Throws FileError for a file that cannot be read,
/// StateError for one that does not fit; it says what the file looks like.
void load_weights(Module<float>& net, const Network& network, const std::string& path, Head head = Head::load);

/// Freezes all layers but those that give logits: the last one, and those of GoogLeNet's auxiliary heads.
void freeze_backbone(Module<float>& net);

/// Freezes the batch normalisations: they go on as in inference. Throws ValueError for a network without.
void freeze_norms(Module<float>& net, const Network& network);

/// Whether a file has weights of GoogLeNet's auxiliary heads.
bool has_auxiliary_heads(const std::string& path);

}  // namespace lamina::examples

#include "common/networks.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

#include "lamina/io/safetensors.hpp"
#include "lamina/models/alexnet.hpp"
#include "lamina/models/densenet.hpp"
#include "lamina/models/googlenet.hpp"
#include "lamina/models/inn.hpp"
#include "lamina/models/lenet.hpp"
#include "lamina/models/mobilenet.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/models/mobilenet_v3.hpp"
#include "lamina/models/nin.hpp"
#include "lamina/models/rednet.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/models/vgg.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/named_modules.hpp"
#include "lamina/nn/summary.hpp"

namespace lamina::examples {

namespace {

/// make(options) for the network's options with what is wanted of them.
template <class Options, class F>
auto with(Options defaults, F make) {
  return [=](const std::string& name, const NetworkOptions& wanted) -> std::unique_ptr<Module<float>> {
    Options options = defaults;
    options.in_channels = wanted.channels;
    options.classes = wanted.classes;
    if constexpr (requires { options.width; })
      options.width *= wanted.width;
    else
      require(wanted.width == 1, name, " comes in one width only, got width ", wanted.width);
    if constexpr (requires { options.side; }) options.side = wanted.side.value_or(options.side);
    if constexpr (requires { options.hidden; })
      options.hidden = wanted.hidden.value_or(options.hidden);
    else
      require(!wanted.hidden, name, ": only AlexNet and VGG have hidden layers");
    if constexpr (requires { options.dropout; })
      options.dropout = wanted.dropout.value_or(options.dropout);
    else
      require(!wanted.dropout, name, " has no dropout");
    if constexpr (requires { options.auxiliary; })
      options.auxiliary = wanted.auxiliary_heads;
    else
      require(!wanted.auxiliary_heads, name, ": only GoogLeNet has auxiliary heads");
    auto net = make(options);
    return std::make_unique<decltype(net)>(std::move(net));
  };
}
auto alexnet_of(AlexNetForm form) { return with(AlexNetOptions{.form = form}, alexnet<float>); }
auto vgg_of(Vgg configuration, bool batch_norm = false) {
  return with(VggOptions{.batch_norm = batch_norm},
              [=](const VggOptions& options) { return vgg<float>(configuration, options); });
}
auto resnet_of(Index depth, Form form = Form::published) {
  return with(ResNetOptions{.form = form}, [=](const ResNetOptions& options) { return resnet<float>(depth, options); });
}
auto densenet_of(Index depth, Form form = Form::published) {
  return with(DenseNetOptions{.form = form},
              [=](const DenseNetOptions& options) { return densenet<float>(depth, options); });
}
auto resnet_cifar_of(Index depth) {
  return with(ResNetCifarOptions{},
              [=](const ResNetCifarOptions& options) { return resnet_cifar<float>(depth, options); });
}
auto densenet_bc_of(Index layers, Index growth) {
  return with(DenseNetOptions{.layers = {layers, layers, layers}, .growth = growth, .small_stem = true},
              [](const DenseNetOptions& options) { return densenet<float>(options); });
}
auto rednet_of(Index depth) {
  return with(RedNetOptions{}, [=](const RedNetOptions& options) { return rednet<float>(depth, options); });
}
auto googlenet_of(Form form) { return with(GoogLeNetOptions{.form = form}, googlenet<float>); }

}  // namespace

const std::vector<Network>& networks() {
  constexpr auto listing = Form::listing;
  // clang-format off
  static const std::vector<Network> table{
      {"lenet", 1, 10, 28, 61'706, 0.9, "LeCun 1998, with sigmoids", with(LeNetOptions{}, lenet<float>)},
      {"alexnet", 3, 1000, 224, 61'100'840, 0.01, "one tower, torchvision's", alexnet_of(AlexNetForm::one_tower)},
      {"alexnet_two_towers", 3, 1000, 224, 60'965'224, 0.01, "Krizhevsky 2012", alexnet_of(AlexNetForm::two_towers)},
      {"alexnet_listing", 1, 10, 224, 46'764'746, 0.01, "Dive into Deep Learning", alexnet_of(AlexNetForm::listing)},
      {"vgg11", 3, 1000, 224, 132'863'336, 0.05, "A; the listing has width 0.25", vgg_of(Vgg::A)},
      {"vgg11_lrn", 3, 1000, 224, 132'863'336, 0.05, "A-LRN", vgg_of(Vgg::A_LRN)},
      {"vgg11_bn", 3, 1000, 224, 132'868'840, 0.05, "A with batch norm", vgg_of(Vgg::A, true)},
      {"vgg13", 3, 1000, 224, 133'047'848, 0.05, "B", vgg_of(Vgg::B)},
      {"vgg13_bn", 3, 1000, 224, 133'053'736, 0.05, "", vgg_of(Vgg::B, true)},
      {"vgg16_1x1", 3, 1000, 224, 133'638'952, 0.05, "C", vgg_of(Vgg::C)},
      {"vgg16", 3, 1000, 224, 138'357'544, 0.05, "D", vgg_of(Vgg::D)},
      {"vgg16_bn", 3, 1000, 224, 138'365'992, 0.05, "", vgg_of(Vgg::D, true)},
      {"vgg19", 3, 1000, 224, 143'667'240, 0.05, "E", vgg_of(Vgg::E)},
      {"vgg19_bn", 3, 1000, 224, 143'678'248, 0.05, "", vgg_of(Vgg::E, true)},
      {"nin", 1, 10, 224, 1'992'166, 0.1, "Dive into Deep Learning", with(NinOptions{}, nin<float>)},
      {"nin_imagenet", 3, 1000, 224, 7'595'176, 0.1, "the authors'", with(NinOptions{.head = 1024}, nin<float>)},
      {"googlenet", 3, 1000, 224, 6'624'904, 0.1, "13,004,888 with auxiliary heads", googlenet_of(Form::published)},
      {"googlenet_listing", 1, 10, 96, 5'977'530, 0.1, "Dive into Deep Learning", googlenet_of(listing)},
      {"resnet18", 3, 1000, 224, 11'689'512, 0.05, "", resnet_of(18)},
      {"resnet34", 3, 1000, 224, 21'797'672, 0.05, "", resnet_of(34)},
      {"resnet50", 3, 1000, 224, 25'557'032, 0.05, "", resnet_of(50)},
      {"resnet101", 3, 1000, 224, 44'549'160, 0.05, "", resnet_of(101)},
      {"resnet152", 3, 1000, 224, 60'192'808, 0.05, "", resnet_of(152)},
      {"resnet18_listing", 1, 10, 96, 11'178'378, 0.05, "Dive into Deep Learning", resnet_of(18, listing)},
      {"resnet18_cifar", 3, 10, 32, 11'173'962, 0.1, "with a small stem",
       with(ResNetOptions{.small_stem = true}, [](const ResNetOptions& options) { return resnet<float>(18, options); })},
      {"resnet20", 3, 10, 32, 269'722, 0.1, "for CIFAR", resnet_cifar_of(20)},
      {"resnet32", 3, 10, 32, 464'154, 0.1, "", resnet_cifar_of(32)},
      {"resnet44", 3, 10, 32, 658'586, 0.1, "", resnet_cifar_of(44)},
      {"resnet56", 3, 10, 32, 853'018, 0.1, "", resnet_cifar_of(56)},
      {"resnet110", 3, 10, 32, 1'727'962, 0.1, "", resnet_cifar_of(110)},
      {"densenet121", 3, 1000, 224, 7'978'856, 0.1, "", densenet_of(121)},
      {"densenet169", 3, 1000, 224, 14'149'480, 0.1, "", densenet_of(169)},
      {"densenet201", 3, 1000, 224, 20'013'928, 0.1, "", densenet_of(201)},
      {"densenet161", 3, 1000, 224, 28'681'000, 0.1, "", densenet_of(161)},
      {"densenet_listing", 1, 10, 96, 758'226, 0.1, "Dive into Deep Learning", densenet_of(21, listing)},
      {"densenet_bc100", 3, 10, 32, 769'162, 0.1, "for CIFAR, growth rate 12", densenet_bc_of(16, 12)},
      {"mobilenet", 3, 1000, 224, 4'231'976, 0.1, "V1", with(MobileNetOptions{}, mobilenet<float>)},
      {"mobilenet_v2", 3, 1000, 224, 3'504'872, 0.1, "", with(MobileNetV2Options{}, mobilenet_v2<float>)},
      {"mobilenet_v2_cifar", 3, 10, 32, 2'236'682, 0.1, "strides for 32 x 32",
       with(MobileNetV2Options{.small_images = true}, mobilenet_v2<float>)},
      {"mobilenet_v3_large", 3, 1000, 224, 5'483'032, 0.1, "", with(MobileNetV3Options{}, mobilenet_v3_large<float>)},
      {"mobilenet_v3_small", 3, 1000, 224, 2'542'856, 0.1, "", with(MobileNetV3Options{}, mobilenet_v3_small<float>)},
      {"inn", 3, 10, 32, 13'074, 0.1, "involutions, Keras's listing", with(InnOptions{}, inn<float>)},
      {"cnn", 3, 10, 32, 319'178, 0.1, "what inn is compared with", with(InnOptions{}, inn_counterpart<float>)},
      {"rednet26", 3, 1000, 224, 9'233'166, 0.05, "Li 2021", rednet_of(26)},
      {"rednet38", 3, 1000, 224, 12'386'986, 0.05, "", rednet_of(38)},
      {"rednet50", 3, 1000, 224, 15'540'806, 0.05, "", rednet_of(50)},
      {"rednet101", 3, 1000, 224, 25'652'950, 0.05, "", rednet_of(101)},
      {"rednet152", 3, 1000, 224, 33'984'582, 0.05, "", rednet_of(152)},
  };
  // clang-format on
  return table;
}

std::vector<std::string> names_of(const std::vector<Network>& networks) {
  std::vector<std::string> names;
  for (const Network& network : networks) names.push_back(network.name);
  return names;
}

const Network& find_network(const std::string& name) {
  for (const Network& network : networks())
    if (network.name == name) return network;
  throw ValueError("no network is called " + name);
}

std::string table_of(const std::vector<Network>& networks) {
  std::string table = "Networks:             parameters   images (channels x side)   classes\n";
  for (const Network& network : networks) {
    char line[128];
    std::snprintf(line, sizeof line, "  %-18s %12s   %td x %-3td %25td   %s", network.name.c_str(),
                  with_commas(network.parameters).c_str(), network.channels, network.side, network.classes,
                  network.note.c_str());
    table += std::string(line, std::string_view(line).find_last_not_of(' ') + 1) + "\n";
  }
  return table;
}

void check_side(const Module<float>& net, const Network& network, Index channels, Index side,
                const std::string& option) {
  try {
    net.output_shape({1, channels, side, side});
  } catch (const ShapeError& error) {
    throw ShapeError(text(network.name, ": images of ", side, " x ", side, " do not fit, it is made for ", option, " ",
                          network.side, "; ", error.what()));
  }
}

namespace {

/// The names of the networks whose keys are most like these, whatever their width; none if all are far from them.
std::string look_like(const StateDict<float>& state) {
  std::set<std::string> keys;
  for (const auto& [key, value] : state) keys.insert(key);
  double closest = 0.5;
  std::string names;
  for (const Network& network : networks()) {
    NetworkOptions small{.channels = 1, .classes = 1};  // keys do not depend on sizes
    if (network.name != "lenet" && network.name != "inn" && network.name != "cnn") small.width = 0.25;
    if (network.name.starts_with("alexnet") || network.name.starts_with("vgg")) small.hidden = 1;
    const auto net = network.make(small);
    Index common = 0, all = static_cast<Index>(keys.size());
    for (const auto& [key, value] : state_dict(*net)) keys.count(key) ? ++common : ++all;
    const double similarity = static_cast<double>(common) / static_cast<double>(all);
    if (similarity < closest) continue;
    if (similarity > closest) names.clear();
    closest = similarity;
    names += (names.empty() ? "" : ", ") + network.name;
  }
  return names;
}

/// "fc." of the last layer's "fc.weight".
std::string head_of(Module<float>& net) {
  const std::string last = parameters(net).back().name;
  return last.substr(0, last.rfind('.') + 1);
}

/// Whether a key is one of the layers that give logits, of which `last` is the last.
bool in_head(const std::string& key, const std::string& last) {
  return key.starts_with(last) || key.starts_with("aux1.fc2.") || key.starts_with("aux2.fc2.");
}

/// Replaces the entries of the layers that give logits by the network's own.
void keep_head(StateDict<float>& state, Module<float>& net) {
  const auto in_head = [last = head_of(net)](const auto& entry) { return examples::in_head(entry.first, last); };
  std::erase_if(state, in_head);
  for (const auto& entry : state_dict(std::as_const(net)))
    if (in_head(entry)) state.push_back(entry);
}

Index rows(const StateDict<float>& state, const std::string& key) {
  for (const auto& [name, value] : state)
    if (name == key) return std::visit([](const auto& tensor) { return tensor.rank() ? tensor.dim(0) : 0; }, value);
  return 0;
}

}  // namespace

void load_weights(Module<float>& net, const Network& network, const std::string& path, Head head) {
  StateDict<float> state = load_safetensors<float>(path);
  if (head == Head::keep) keep_head(state, net);
  const std::string last = head_of(net);
  const Index classes = rows(state_dict(net), last + "weight"), in_file = rows(state, last + "weight");
  try {
    load_state_dict(net, state);
  } catch (const StateError& error) {
    std::string hint;
    const std::string names = look_like(state);
    if (names.empty())
      hint = "the file is of none of the networks of --help";
    else if ((", " + names + ",").find(" " + network.name + ",") == std::string::npos)
      hint = "the file looks like " + names;
    else if (in_file && in_file != classes)
      hint =
          text("the file's last layer, ", last.substr(0, last.size() - 1), ", has ", in_file, " classes, not ", classes,
               ": load it with --classes ", in_file, ", or in train_classifier with --new-head all but that layer");
    else
      hint = "the file has the keys of " + network.name + ", in other shapes: is it of another --width?";
    const std::string what = error.what();  // a line with the whole model, then the list
    throw StateError(text(path, ": not the weights of this ", network.name, "; ", hint, what.substr(what.find('\n'))));
  }
}

void freeze_backbone(Module<float>& net) {
  const std::string last = head_of(net);
  freeze(net);
  for (auto& [name, parameter, owner] : parameters(net))
    if (in_head(name, last)) unfreeze(*owner);
}

void freeze_norms(Module<float>& net, const Network& network) {
  bool found = false;
  for (auto& [path, module] : named_modules(net))
    if (module->as<BatchNorm2d<float>>() || module->as<BatchNorm1d<float>>()) {
      freeze(*module);
      found = true;
    }
  require(found, network.name, " has no batch normalisation");
}

bool has_auxiliary_heads(const std::string& path) { return SafetensorsFile(path).contains("aux1.fc1.weight"); }

}  // namespace lamina::examples

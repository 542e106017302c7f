#include "common/classifier_file.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

namespace lamina::examples {

namespace {

using Json = nlohmann::json;

/// The metadata's fields. The model's name and the dataset's are as they are, the others JSON.
constexpr const char *model_key = "model", *options_key = "options", *classes_key = "classes",
                     *preparation_key = "preparation";

/// One field of a file.
class Field {
 public:
  Field(const std::string& path, const char* key, const Metadata& metadata) : path_(path), key_(key) {
    const auto entry = metadata.find(key);
    lamina::require<FileError>(
        entry != metadata.end(), path, ": the file does not say its ", key,
        " (train_classifier writes model files that do); for weights alone use --model, --weights and what they need");
    text_ = entry->second;
  }

  const std::string& text() const { return text_; }
  template <class... Parts>
  void require(bool holds, const Parts&... parts) const {
    lamina::require<FileError>(holds, path_, ": metadata '", key_, "': ", parts...);
  }
  /// f(the JSON); what it throws of JSON's is an error of the file.
  template <class F>
  auto parse(F f) const {
    try {
      return f(Json::parse(text_));
    } catch (const Json::exception& error) {
      require(false, "not what train_classifier writes: ", error.what());
      throw;
    }
  }

 private:
  std::string path_, key_, text_;
};

template <class T>
Json json_of(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
template <class T>
std::optional<T> optional_of(const Json& value) {
  return value.is_null() ? std::optional<T>() : value.get<T>();
}

NetworkOptions read_options(const Field& field, Index classes) {
  NetworkOptions options = field.parse([](const Json& json) {
    return NetworkOptions{.channels = json.at("channels").get<Index>(),
                          .classes = 0,
                          .side = json.at("side").get<Index>(),
                          .width = json.at("width").get<double>(),
                          .hidden = optional_of<Index>(json.at("hidden")),
                          .dropout = optional_of<double>(json.at("dropout")),
                          .auxiliary_heads = json.at("auxiliary_heads").get<bool>()};
  });
  field.require(options.channels == 1 || options.channels == 3, "expected 1 or 3 channels, got ", options.channels);
  field.require(options.width > 0, "width must be positive, got ", options.width);
  options.classes = classes;
  return options;
}

Preparation read_preparation(const Field& field, const NetworkOptions& options) {
  Preparation result = field.parse([](const Json& json) {
    return Preparation{.resize = json.at("resize").get<Index>(),
                       .crop = json.at("crop").get<Index>(),
                       .mean = json.at("mean").get<std::vector<double>>(),
                       .std = json.at("std").get<std::vector<double>>()};
  });
  field.require(result.crop == options.side, "crop ", result.crop, ", but the network is for side ", *options.side);
  field.require(result.crop >= 1 && result.resize >= result.crop && result.resize <= 1 << 16,
                "expected 1 <= crop <= resize <= 65536, got ", result.crop, " and ", result.resize);
  const auto channels = static_cast<std::size_t>(options.channels);
  field.require((result.mean.empty() || result.mean.size() == channels) && result.mean.size() == result.std.size(),
                "expected a mean and a std for each of ", channels, " channels, or none, got ", result.mean.size(),
                " and ", result.std.size());
  for (const double value : result.mean) field.require(std::isfinite(value), "a mean is not finite");
  for (const double value : result.std)
    field.require(std::isfinite(value) && value > 0, "a std must be positive, got ", value);
  return result;
}

}  // namespace

Tensor<float> Preparation::operator()(Tensor<float> image) const {
  image = CenterCrop(crop)(Resize(resize)(std::move(image)));
  return mean.empty() ? image : Normalize(mean, std)(std::move(image));
}

void save_classifier(const std::string& path, const Module<float>& net, const ClassifierFile& file,
                     const std::string& dataset) {
  const NetworkOptions& o = file.options;
  const Json options = {
      {"channels", o.channels},      {"side", json_of(o.side)},       {"width", o.width},
      {"hidden", json_of(o.hidden)}, {"dropout", json_of(o.dropout)}, {"auxiliary_heads", o.auxiliary_heads}};
  const Preparation& p = file.preparation;
  const Json preparation = {{"resize", p.resize}, {"crop", p.crop}, {"mean", p.mean}, {"std", p.std}};
  save_state_dict(path, state_dict(net),
                  {{model_key, file.model},
                   {"dataset", dataset},
                   {options_key, options.dump()},
                   {classes_key, Json(file.classes).dump(-1, ' ', false, Json::error_handler_t::replace)},
                   {preparation_key, preparation.dump()}});
}

bool is_classifier_file(const std::string& path) { return SafetensorsFile(path).metadata().contains(preparation_key); }

ClassifierFile read_classifier(const std::string& path) {
  const Metadata metadata = SafetensorsFile(path).metadata();
  const Field model(path, model_key, metadata), options(path, options_key, metadata),
      classes(path, classes_key, metadata), preparation(path, preparation_key, metadata);
  const std::vector<std::string> known = names_of(networks());
  model.require(std::find(known.begin(), known.end(), model.text()) != known.end(), "no network is called ",
                model.text());
  ClassifierFile result{
      model.text(), {}, classes.parse([](const Json& json) { return json.get<std::vector<std::string>>(); }), {}};
  classes.require(!result.classes.empty(), "there are none");
  result.options = read_options(options, static_cast<Index>(result.classes.size()));
  result.preparation = read_preparation(preparation, result.options);
  return result;
}

std::unique_ptr<Module<float>> load_classifier(const std::string& path, const ClassifierFile& file) {
  const Network& network = find_network(file.model);
  const SkipInit skip;
  auto net = network.make(file.options);
  load_weights(*net, network, path);
  return net;
}

}  // namespace lamina::examples

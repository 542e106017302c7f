#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lamina/train/history.hpp"

namespace lamina::examples {

/// Keys keep the order in which they are set; NaN and infinities are written as null.
using Json = nlohmann::ordered_json;

void write_json(const std::string& path, const Json& value);

/// A model that a program has trained.
struct TrainedModel {
  std::string name;
  Index parameters;
  History history;
  std::vector<Json> measures = {};  ///< further numbers of each epoch by name; none, or an object for each
  Json results = Json::object();    ///< numbers of the finished model by name
};

/// Writes folder/metrics.json; its form is in examples/README.md.
void write_metrics(const std::string& folder, const Json& settings, const std::vector<TrainedModel>& models);

}  // namespace lamina::examples

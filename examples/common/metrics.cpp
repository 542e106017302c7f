#include "common/metrics.hpp"

#include "lamina/io/file.hpp"

namespace lamina::examples {

void write_json(const std::string& path, const Json& value) { write_file_atomically(path, value.dump(2) + "\n"); }

void write_metrics(const std::string& folder, const Json& settings, const std::vector<TrainedModel>& models) {
  Json all = {{"settings", settings}, {"models", Json::array()}};
  for (const TrainedModel& model : models) {
    Json epochs = Json::parse(to_json(model.history));
    for (std::size_t i = 0; i < model.measures.size(); ++i) epochs.at(i).update(model.measures[i]);
    all["models"].push_back({{"name", model.name},
                             {"parameters", model.parameters},
                             {"epochs", epochs},
                             {"best_epoch", model.history.best_epoch},
                             {"results", model.results}});
  }
  write_json(folder + "/metrics.json", all);
}

}  // namespace lamina::examples

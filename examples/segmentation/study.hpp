#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lamina/io/file.hpp"
#include "segmentation/gradients.hpp"
#include "segmentation/pictures.hpp"

/// `segment --all` and `segment --ablation`: many runs, each in a folder of its own, which are done once.
namespace lamina::examples::segmentation {

/// One of the settings that are compared.
struct Variant {
  std::string name;
  Settings settings;
};

/// The contexts of the paper's table 3, and the gradients through the decompositions.
inline std::vector<Variant> all_contexts(const Settings& base) {
  std::vector<Variant> result;
  for (const char* context :
       {"none", "nmf", "vq", "cd", "self-attention", "danet", "double-attention", "apc", "dm", "acf"}) {
    Settings s = base;
    s.context = context;
    result.push_back({context, s});
  }
  for (const char* ham : {"nmf", "vq", "cd"}) {
    Settings s = base;
    s.context = ham;
    s.gradient = "bptt";
    result.push_back({text(ham, "-bptt"), s});
    s.gradient_steps = 2;
    result.push_back({text(ham, "-2-steps"), s});
  }
  return result;
}

/// What may be taken apart, in the paper's order. The last three train nothing, or once for all values.
inline const std::vector<std::string> ablations = {"hams",           "bread-ham",  "heads",          "dimension",
                                                   "rank",           "steps",      "initialisation", "temperature",
                                                   "gradient-depth", "eval-steps", "gradient",       "cost"};

inline std::vector<Variant> variants_of(const Settings& base) {
  std::vector<Variant> result;
  const auto add = [&](const std::string& name, auto change) {
    Settings s = base;
    change(s);
    result.push_back({name, std::move(s)});
  };
  const auto numbers = [&](const char* label, std::initializer_list<Index> values, auto change) {
    for (const Index value : values) add(text(label, value), [&](Settings& s) { change(s, value); });
  };
  const std::string& which = base.ablation;
  if (which == "hams") {  // table 1
    for (const char* ham : {"vq", "cd", "nmf"})
      for (const char* gradient : {"one-step", "bptt"})
        add(text(ham, "-", gradient), [&](Settings& s) { s.context = ham, s.gradient = gradient; });
    add("none", [](Settings& s) { s.context = "none"; });
  } else if (which == "bread-ham") {  // table 2
    add("none", [](Settings& s) { s.context = "none"; });
    for (const std::string& parts : burger_parts) add(parts, [&](Settings& s) { s.parts = parts; });
  } else if (which == "heads") {
    numbers("S-", {1, 2, 4, 8}, [](Settings& s, Index value) { s.heads = value; });
  } else if (which == "dimension") {
    numbers("d-", {16, 32, 64, 128, 256}, [](Settings& s, Index value) { s.width = value; });
  } else if (which == "rank") {
    numbers("r-", {1, 2, 4, 8, 16, 32, 64}, [](Settings& s, Index value) { s.rank = value; });
  } else if (which == "steps") {
    numbers("K-", {1, 2, 3, 4, 6, 8, 12}, [](Settings& s, Index value) { s.steps = value; });
  } else if (which == "initialisation") {
    for (const char* ham : {"nmf", "vq", "cd"})
      for (const char* bases : {"random", "kept"})
        add(text(ham, "-", bases), [&](Settings& s) { s.context = ham, s.bases = bases; });
  } else if (which == "temperature") {
    for (const char* ham : {"vq", "cd"})
      for (const int inverse : {1, 10, 100})
        add(text(ham, "-", inverse), [&](Settings& s) { s.context = ham, s.inverse_temperature = inverse; });
  } else if (which == "gradient-depth") {
    add("one-step", [](Settings&) {});
    numbers("last-", {1, 2, 3, 4}, [](Settings& s, Index value) { s.gradient = "bptt", s.gradient_steps = value; });
    add("bptt", [](Settings& s) { s.gradient = "bptt"; });
  }
  return result;
}

/// The mean of some numbers, and their standard deviation (of a sample).
struct Spread {
  double mean = 0, deviation = 0;

  explicit Spread(const std::vector<double>& values) {
    const auto n = static_cast<double>(values.size());
    for (const double v : values) mean += v / n;
    for (const double v : values) deviation += (v - mean) * (v - mean);
    deviation = values.size() > 1 ? std::sqrt(deviation / (n - 1)) : std::numeric_limits<double>::quiet_NaN();
  }
  std::string shown() const {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, is_nan(deviation) ? "%.4f" : "%.4f ± %.4f", mean, deviation);
    return buffer;
  }
};

/// What a file of a run that is done says; null if there is none. Throws StateError if it is one of other settings.
inline Json done_before(const std::string& path, const Settings& s) {
  if (!file_exists(path)) return {};
  Json all = Json::parse(read_text(path));
  Json settings = all.at("settings");
  settings.erase("threads");
  lamina::require<StateError>(settings == to_json(s), path,
                              ": is of a run with other settings; choose another --out, or remove it");
  return all;
}

/// A run in its folder, done now unless it was before. The weights are not kept.
inline Json result_of(const Variant& variant, const Data& data) {
  const std::string path = variant.settings.file("metrics.json");
  if (Json before = done_before(path, variant.settings); !before.is_null()) return before.at("models").at(0);
  std::error_code error;
  std::filesystem::create_directories(variant.settings.out, error);
  lamina::require<FileError>(!error, variant.settings.out, ": cannot make the folder: ", error.message());
  Ranks alone;
  Outcome outcome = train_network(variant.settings, data, alone, true);
  write_pictures(variant.settings, data, outcome);
  write_metrics(variant.settings, data, outcome);  // last: it says that the run is done
  return Json::parse(read_text(path)).at("models").at(0);
}

/// The runs of each variant so far, by seed.
struct Study {
  std::vector<std::string> names;
  std::vector<std::vector<Json>> runs;  // by variant

  std::vector<double> values(std::size_t variant, const char* measure) const {
    std::vector<double> result;
    for (const Json& run : runs[variant]) {
      const Json& value = run.at("results").at(measure);
      result.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
    }
    return result;
  }
  double seconds(std::size_t variant) const {
    double sum = 0;
    for (const Json& run : runs[variant])
      for (const Json& epoch : run.at("epochs")) sum += epoch.at("seconds").get<double>();
    return sum / static_cast<double>(runs[variant].size());
  }
};

/// A table in Markdown, and the same for programs.
inline void write_table(const Settings& base, const Study& study) {
  std::string table =
      "| | parameters | mean IoU | by seed | pixels right | mean accuracy | weighted IoU | seconds of training |\n"
      "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |\n";
  Json rows = Json::array();
  for (std::size_t v = 0; v < study.names.size(); ++v) {
    if (study.runs[v].empty()) continue;
    const std::vector<double> iou = study.values(v, "mean_iou");
    std::string each;
    for (const double value : iou) {
      char buffer[32];
      std::snprintf(buffer, sizeof buffer, "%s%.4f", each.empty() ? "" : ", ", value);
      each += buffer;
    }
    const Spread mean(iou);
    const auto parameters = study.runs[v][0].at("parameters").get<Index>();
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.0f", study.seconds(v));
    table +=
        text("| ", study.names[v], " | ", with_commas(parameters), " | ", mean.shown(), " | ", each, " | ",
             Spread(study.values(v, "pixel_accuracy")).shown(), " | ", Spread(study.values(v, "mean_accuracy")).shown(),
             " | ", Spread(study.values(v, "frequency_weighted_iou")).shown(), " | ", seconds, " |\n");
    rows.push_back({{"name", study.names[v]},
                    {"parameters", parameters},
                    {"mean_iou", iou},
                    {"mean", mean.mean},
                    {"deviation", mean.deviation},
                    {"seconds", study.seconds(v)}});
  }
  write_file_atomically(base.file("table.md"), table);
  write_json(base.file("table.json"), {{"settings", to_json(base)}, {"seeds", base.seeds}, {"rows", rows}});
}

/// Mean IoU by epoch, averaged over the seeds; up to eight lines in a chart.
inline void draw_study(const Settings& base, const Study& study) {
  std::vector<Series> lines;
  for (std::size_t v = 0; v < study.names.size(); ++v) {
    if (study.runs[v].empty()) continue;
    Series line{study.names[v], {}};
    for (const Json& run : study.runs[v]) {
      const Json& epochs = run.at("epochs");
      line.y.resize(std::max(line.y.size(), epochs.size()));
      for (std::size_t e = 0; e < epochs.size(); ++e) {
        const Json& value = epochs[e].at("mean_iou");
        line.y[e] += (value.is_null() ? 0 : value.get<double>()) / static_cast<double>(study.runs[v].size());
      }
    }
    lines.push_back(std::move(line));
  }
  const std::size_t charts = (lines.size() + 7) / 8;
  Canvas canvas(static_cast<Index>(820 * charts), 640);
  for (std::size_t c = 0; c < charts; ++c) {
    const auto from = lines.begin() + static_cast<std::ptrdiff_t>(8 * c);
    const auto to = lines.begin() + static_cast<std::ptrdiff_t>(std::min(lines.size(), 8 * (c + 1)));
    draw_chart(canvas, 820 * static_cast<double>(c), 0, 820, 640, {from, to},
               {.title = "Mean IoU on the test images", .x_label = "epoch"});
  }
  write_png(base.file("curves.png"), canvas.image());
}

/// All runs, seed by seed, so that a study that is stopped has some of everything; the table and the curves are written
/// after each.
inline void run_study(const Settings& base, const std::vector<Variant>& variants, const Data& data) {
  Study study;
  for (const Variant& variant : variants) study.names.push_back(variant.name);
  study.runs.resize(variants.size());
  for (Index seed = 0; seed < base.seeds; ++seed)
    for (std::size_t v = 0; v < variants.size(); ++v) {
      Variant run = variants[v];
      run.settings.seed = base.seed + static_cast<std::uint64_t>(seed);
      run.settings.out = text(base.out, "/", run.name, "/seed-", run.settings.seed);
      study.runs[v].push_back(result_of(run, data));
      std::printf("%-20s seed %llu: mean IoU %.4f, so far %s\n", run.name.c_str(),
                  static_cast<unsigned long long>(run.settings.seed), study.values(v, "mean_iou").back(),
                  Spread(study.values(v, "mean_iou")).shown().c_str());
      std::fflush(stdout);
      write_table(base, study);
      if (base.epochs > 0) draw_study(base, study);
    }
  std::printf("\n%s\n", read_text(base.file("table.md")).c_str());
  print_outputs(base.out, {{"table.md", "mean and spread over the seeds"},
                           {"table.json", "the same for programs"},
                           {"curves.png", "mean IoU by epoch"},
                           {"NAME/seed-N/", "metrics and pictures of each run"}});
}

/// One training for each seed, judged with 1 to 30 steps of the decomposition.
inline void run_eval_steps(const Settings& base, const Data& data) {
  lamina::require(base.decomposes(), "--ablation eval-steps is for the contexts nmf, vq and cd, not for ",
                  base.context);
  const std::vector<Index> values = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 25, 30};
  std::vector<std::vector<double>> iou(values.size());
  for (Index seed = 0; seed < base.seeds; ++seed) {
    Settings s = base;
    s.seed = base.seed + static_cast<std::uint64_t>(seed);
    s.out = text(base.out, "/seed-", s.seed);
    const std::string path = s.file("evaluations.json");
    Json done = done_before(path, s);
    if (done.is_null()) {
      std::filesystem::create_directories(s.out);
      Ranks alone;
      const Outcome outcome = train_network(s, data, alone, true);
      Json found = Json::array();
      for (const Index steps : values) {
        Settings other = s;
        other.eval_steps = steps;
        auto net = make_network(other, data.count(), crop_size(s, data));
        load_state_dict(net, state_dict(outcome.net));
        found.push_back(judge(net, other, data).mean_iou);
      }
      done = {{"settings", to_json(s)}, {"steps", values}, {"mean_iou", found}};
      write_json(path, done);
    }
    for (std::size_t i = 0; i < values.size(); ++i) iou[i].push_back(done.at("mean_iou").at(i).get<double>());
    std::printf("seed %llu is done\n", static_cast<unsigned long long>(s.seed));
    std::fflush(stdout);
  }
  std::string table = text("| steps (trained with ", base.steps, ") | mean IoU |\n| ---: | ---: |\n");
  Series line{text(base.context, ", trained with ", base.steps, " steps"), {}};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Spread spread(iou[i]);
    table += text("| ", values[i], " | ", spread.shown(), " |\n");
    line.x.push_back(static_cast<double>(values[i]));
    line.y.push_back(spread.mean);
  }
  write_file_atomically(base.file("table.md"), table);
  write_png(base.file("curves.png"),
            plot_lines({line}, {.title = "Mean IoU by the steps in evaluation", .x_label = "steps"}));
  std::printf("\n%s\n", table.c_str());
  print_outputs(base.out, {{"table.md", "mean and spread over the seeds"}, {"curves.png", "the same as a picture"}});
}

inline void run_ablation(const Settings& s) {
  if (s.ablation == "gradient") return examine_gradients(s);
  if (s.ablation == "cost") return measure_cost(s);
  const Data data = load(s);
  if (s.ablation == "eval-steps") return run_eval_steps(s, data);
  run_study(s, variants_of(s), data);
}

}  // namespace lamina::examples::segmentation

#include "clip/cache.hpp"
#include "clip/options.hpp"
#include "clip/recalls.hpp"
#include "common/program.hpp"

namespace lamina::examples::clip {

namespace {

void run_evaluation(Settings s) {
  examples::prepare_folder(s.out);
  const auto [clip, data] = open(s);
  const Recalls result = judge(clip, data.part(s.split), s);
  print(result);
  write_json(s.file("evaluation.json"), to_json(result));
}

}  // namespace

void add_evaluate(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "evaluate", "Recall at 1, 5 and 10: evaluation.json", run_evaluation);
  add_model(sub, s);
  add_images(sub, s, "the model's");
  add_split(sub, s);
  add_tokenizer(sub, s);
  add_out(sub, s);
}

}  // namespace lamina::examples::clip

#include "gan/options.hpp"

namespace lamina::examples::gan {

CLI::App* add_command(CLI::App& app, Settings& s, const char* name, const char* what, void (*run)(Settings)) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();
  sub->add_option("--threads", s.threads, "Threads; results do not depend on them")->check(CLI::Range(1, 4096));
  sub->add_option("--seed", s.seed, "Of initial weights, batches and samples")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->callback([&s, run] {
    set_num_threads(s.threads);
    run(s);
  });
  return sub;
}

void add_dataset(CLI::App* sub, Settings& s) {
  sub->add_option("--dataset", s.dataset, "The images; digits are drawn, the others read from --data")
      ->check(CLI::IsMember({"digits", "mnist", "fashion-mnist", "cifar10"}))
      ->capture_default_str();
  sub->add_option("--data", s.data, "Folder with mnist/, fashion-mnist/, cifar10/ (default: LAMINA_DATA)");
  sub->add_option("--limit-train", s.limit_train, "Use only the first training images")->check(CLI::Range(8, 1 << 30));
}

void add_model(CLI::App* sub, Settings& s) {
  sub->add_option("--model", s.model, "model.safetensors of a training run")->required();
}

void add_label(CLI::App* sub, Settings& s) {
  sub->add_option("--class", s.label, "Images of this class only (default: of all)")->check(CLI::NonNegativeNumber);
}

}  // namespace lamina::examples::gan

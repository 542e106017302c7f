#include <doctest/doctest.h>

#include "files.hpp"
#include "lamina/io/history.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/plot/training.hpp"
#include "train/problems.hpp"

using namespace lamina;
using namespace problems;

TEST_CASE("after every epoch the files have the epochs so far, and no others are left") {
  const TemporaryFolder folder;
  auto net = network();
  auto train = loader(), test = test_loader();
  SGD optimizer(parameters(net), {.lr = 0.1});
  Index epochs = 0;
  FitOptions<float> options{.epochs = 3, .test = &test, .progress = false};
  options.on_epoch = [&, files = HistoryFiles(folder.path())](const FitState<float>& state) {
    files(state);
    ++epochs;
    CHECK(read_text(folder / "history.csv") == to_csv(state.history));
    CHECK(static_cast<Index>(read_lines(folder / "history.csv").size()) == epochs + 1);
    CHECK(read_image(folder / "curves.png") == plot_history(state.history));
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
  };
  fit(net, optimizer, train, options);
  CHECK(epochs == 3);

  options.on_epoch = HistoryFiles(folder / "nowhere");
  const std::string message = folder / "nowhere/history.csv: cannot write: No such file or directory";
  CHECK_THROWS_WITH_AS(fit(net, optimizer, train, options), message.c_str(), FileError);
}

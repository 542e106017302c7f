#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "lamina/train/history.hpp"

using namespace lamina;

namespace {
History two_epochs() {
  History history;
  history.epochs = {{.epoch = 1, .train_loss = 0.1, .train_accuracy = 1.0 / 3, .seconds = 2, .lr = 1e-20},
                    {.epoch = 2, .train_loss = 12345.678, .test_loss = 1e300, .test_accuracy = 1, .seconds = 0.5}};
  return history;
}
}  // namespace

TEST_CASE("a history as CSV") {
  CHECK(to_csv(two_epochs()) ==
        "epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds,examples_per_second,lr\n"
        "1,0.1,0.3333333333333333,,,2,0,1e-20\n"
        "2,12345.678,,1e+300,1,0.5,0,0\n");
  CHECK(to_csv({}) == "epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds,examples_per_second,lr\n");
}

TEST_CASE("a history as JSON") {
  const auto json = nlohmann::json::parse(to_json(two_epochs()));
  REQUIRE(json.size() == 2);
  CHECK(json[0]["epoch"] == 1);
  CHECK(json[0]["train_accuracy"].get<double>() == 1.0 / 3);  // every bit
  CHECK(json[0]["test_loss"].is_null());
  CHECK(json[0]["lr"] == 1e-20);
  CHECK(json[1]["test_loss"] == 1e300);
  CHECK(json[1].size() == 8);
  CHECK(to_json({}) == "[]");
}

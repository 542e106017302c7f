#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/hamburger/hamburger.hpp"

using namespace lamina;
using testing::Golden;

namespace {

template <class S>
void check_ham(Golden<S>& golden, HamKind kind, const std::string& name) {
  const auto ham = [&](const std::string& case_name, Index d, HamOptions options) {
    if (options.rank == HamOptions().rank) options.rank = 4;
    options.dimension = d;
    options.random_bases = false;
    options.inverse_temperature = 10;
    const auto check = [&](auto layer) {
      // Ten times the tolerance of the other layers: 1e-9 in double, 1e-4 in float.
      CHECK(golden.layer(name + "/" + case_name, layer, 10));
      if (options.online_update == OnlineUpdate::evaluation)
        CHECK(golden.run(name + "/" + case_name, [&](auto& report) {
          report.slack = 10;
          load_state_dict(layer, golden.state(report.case_name, "state"));
          report.add("infer", layer.infer_and_update(golden.tensor(report.case_name + "/x")));
          report.add("updated", layer.bases);
        }));
    };
    if (kind == HamKind::nmf) check(NMF<S>(options));
    if (kind == HamKind::vq) check(VQ<S>(options));
    if (kind == HamKind::cd) check(CD<S>(options));
  };
  for (const HamGradient gradient : {HamGradient::one_step, HamGradient::bptt}) {
    const std::string tail = gradient == HamGradient::bptt ? "_bptt" : "_one_step";
    const HamOptions plain{.train_steps = 3, .eval_steps = 4, .gradient = gradient};
    const auto with = [&](bool spatial, Index heads, Index rank) {
      HamOptions options = plain;
      options.spatial = spatial;
      options.heads = heads;
      options.rank = rank;
      return options;
    };
    ham("spatial" + tail, 6, plain);
    ham("spatial_deep" + tail, 14, plain);
    ham("channel" + tail, 12, with(false, 1, 4));
    ham("channel_wide" + tail, 6, with(false, 1, 4));
    ham("heads" + tail, 5, with(true, 2, 3));
    ham("channel_heads" + tail, 6, with(false, 2, 3));
    ham("long" + tail, 7, with(true, 1, 5));
  }
  ham("rank_1", 5, {.rank = 1, .train_steps = 3, .eval_steps = 4});
  ham("rank_17", 19, {.rank = 17, .train_steps = 3, .eval_steps = 4});
  ham("six_steps", 6, {.train_steps = 6, .eval_steps = 7});
  ham("no_steps", 6, {.train_steps = 0, .eval_steps = 0});
  ham("online_evaluation", 6, {.train_steps = 3, .eval_steps = 4, .online_update = OnlineUpdate::evaluation});

  const auto options = [&](Index d, bool full = false) {
    HamburgerOptions result{.kind = kind, .D = d, .pixels = 12, .norm_momentum = 3e-4};
    result.ham = {.rank = 3, .train_steps = 3, .eval_steps = 4, .inverse_temperature = 10, .random_bases = false};
    if (full) result.ham.gradient = HamGradient::bptt;
    return result;
  };
  CHECK(golden.layer("v1/" + name, hamburger_v1<S>(5, options(6)), 10));
  HamburgerOptions channel = options(12), heads = options(6), single = options(4);
  channel.ham.spatial = false;
  heads.ham.heads = 2;
  single.ham.heads = 2;
  single.dual = false;
  CHECK(golden.layer("v1/" + name + "_channel", hamburger_v1<S>(5, channel), 10));
  CHECK(golden.layer("v2/" + name, hamburger_v2<S>(5, heads), 10));
  CHECK(golden.layer("v2+/" + name, hamburger_v2_plus<S>(5, options(4)), 10));
  CHECK(golden.layer("v2+/" + name + "_bptt", hamburger_v2_plus<S>(5, options(4, true)), 10));
  CHECK(golden.layer("v2+/" + name + "_single", hamburger_v2_plus<S>(5, single), 10));
}

}  // namespace

TEST_CASE_TEMPLATE("hams and Hamburgers as in PyTorch", S, float, double) {
  Golden<S> golden("hamburger");
  check_ham(golden, HamKind::nmf, "nmf");
  check_ham(golden, HamKind::vq, "vq");
  check_ham(golden, HamKind::cd, "cd");
  CHECK(golden.untested() == "");
}

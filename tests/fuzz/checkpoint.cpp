#include "lamina/io/checkpoint.hpp"

#include "lamina/lamina.hpp"  // layers are lamina::compiled's
#include "lamina/nn/linear.hpp"
#include "lamina/optim/adam.hpp"
#include "safetensors.hpp"

namespace {

struct Run {
  lamina::Linear<float> net{2, 2};
  lamina::Adam<float> optimizer{parameters(net)};
  lamina::StepLR schedule{optimizer, {.step_size = 2}};
};

}  // namespace

// What is no checkpoint of the run leaves all of it as it was; after one, training can go on.
FUZZ_TARGET(checkpoint, const std::uint8_t* data, std::size_t size) {
  using namespace lamina;
  static fuzz::InputFile file;
  const std::string& path = file.put(fuzz::safetensors({data, size}));
  set_num_threads(1);
  static Run run;
  static const StateDict<float> model = state_dict(run.net);
  static const TrainingState optimizer = run.optimizer.state(), schedule = run.schedule.state();
  if (fuzz::attempt(path, [&] { load_checkpoint(path, run.net, run.optimizer, &run.schedule); })) {
    fuzz::attempt(path, [&] {
      run.optimizer.step();
      run.schedule.step();
    });
    load_state_dict(run.net, model);
    run.optimizer.load_state(optimizer);
    run.schedule.load_state(schedule);
  }
  fuzz::expect(state_dict(run.net) == model, "a file that was refused changed the model");
  fuzz::expect(run.optimizer.state() == optimizer, "a file that was refused changed the optimiser");
  fuzz::expect(run.schedule.state() == schedule, "a file that was refused changed the schedule");
  return 0;
}

#include <lamina/io.hpp>
#include <lamina/lamina.hpp>

using namespace lamina;

// A model's weights survive a safetensors file.
int main() {
  Linear<float> saved(3, 2), loaded(3, 2);
  save_state_dict("app.safetensors", state_dict(saved));
  load_state_dict(loaded, load_safetensors<float>("app.safetensors"));
  return loaded.weight.value == saved.weight.value && loaded.bias.value == saved.bias.value ? 0 : 1;
}

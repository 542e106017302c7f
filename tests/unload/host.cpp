#include <dlfcn.h>

#include <cstdio>

// Loads a plugin, lets it work and unloads it, again and again: its threads must not outlive its code.
int main(int, char** arguments) {
  for (int i = 0; i < 50; ++i) {
    void* const plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!plugin) return std::puts(dlerror()), 1;
    reinterpret_cast<float (*)(float)>(dlsym(plugin, "process"))(1);
    if (dlclose(plugin) != 0) return std::puts("dlclose failed"), 1;
    if (dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD)) return std::puts("the plugin is still loaded"), 1;
  }
}

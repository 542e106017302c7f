#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// A module with its path, as in state_dict keys.
template <class Scalar>
struct NamedModule {
  std::string path;        ///< "" for the model itself
  Module<Scalar>* module;  ///< in the model
};

namespace detail {
template <class Scalar>
void collect_modules(Module<Scalar>& module, const std::string& path, std::vector<NamedModule<Scalar>>& result) {
  result.push_back({path, &module});
  for (const Member<Scalar>& member : module.members())
    if (auto* const* child = std::get_if<Module<Scalar>*>(&member.part))
      collect_modules(**child, path + (path.empty() || member.name.empty() ? "" : ".") + member.name, result);
}
}  // namespace detail

/// A module and all below it, each before what it consists of:
///
///   for (auto& [path, module] : named_modules(net)) std::puts((path + " " + module->name()).c_str());
///
/// The pointers stay valid as long as the model is neither moved nor edited.
template <class Scalar>
std::vector<NamedModule<Scalar>> named_modules(Module<Scalar>& module) {
  std::vector<NamedModule<Scalar>> result;
  detail::collect_modules(module, "", result);
  return result;
}

/// The module at a path, the outermost if there are several: `find(net, "features.3").template as<Conv2d<float>>()`.
/// Throws ValueError if there is none.
template <class Scalar>
Module<Scalar>& find(Module<Scalar>& module, std::string_view path) {
  for (const auto& [known, found] : named_modules(module))
    if (known == path) return *found;
  fail<ValueError>("find: ", module, " has no module '", path, "'");
}

}  // namespace lamina::inline LAMINA_ABI

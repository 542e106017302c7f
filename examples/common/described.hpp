#pragma once

#include <string>

#include "lamina/io/safetensors.hpp"

namespace lamina::examples {

/// The network that a file's metadata describes, as make() builds it, with the file's weights. `least` is a number of
/// parameters that it has at least: if the file holds fewer, the metadata is wrong, and nothing of that size is built.
/// Throws FileError, which begins with the path.
template <class Make>
auto described_network(const SafetensorsFile& file, double least, Make make) {
  double numbers = 0;
  for (const TensorInfo& tensor : file.tensors()) numbers += static_cast<double>(tensor.shape.numel());
  require<FileError>(least <= numbers, file.path(), ": the metadata describes a network of ", least,
                     " parameters or more, but the file holds ", numbers, " numbers");
  try {
    return within_memory(file.path(), [&] {
      auto net = make();
      load_state_dict(net, load_safetensors(file.path()));
      return net;
    });
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {
    throw FileError(text(file.path(), ": ", error.what()));
  }
}

}  // namespace lamina::examples

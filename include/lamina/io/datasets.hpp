#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lamina/data/cifar.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/data/idx.hpp"
#include "lamina/io/file.hpp"

/// The standard datasets, from the files in which they are published. `dir` is the folder that holds them all: the
/// files lie in dir/mnist, dir/fashion-mnist, dir/cifar10/cifar-10-batches-bin and dir/cifar100/cifar-100-binary.
namespace lamina::inline LAMINA_ABI {

/// The given folder, or else LAMINA_DATA's. Throws FileError when there is neither.
inline std::string data_directory(std::string given = "") {
  if (!given.empty()) return given;
  const char* variable = std::getenv("LAMINA_DATA");
  require<FileError>(variable && *variable, "no data folder: give --data DIR or set LAMINA_DATA");
  return variable;
}

namespace detail {

/// The first of these files that is there; one that may not be read is. (Archives of MNIST are often unpacked into
/// folders that have the files' names.)
inline std::string find_data(const std::vector<std::string>& paths, const std::string& dir) {
  for (const std::string& path : paths) {
    std::error_code error;
    if (file_exists(path) && !std::filesystem::is_directory(path, error)) return path;
  }
  throw FileError(text(paths[0], ": no such file", paths.size() > 1 ? ", nor with .gz" : "",
                       "; looked in the data folder '", dir, "', which --data DIR or LAMINA_DATA sets"));
}

/// MNIST's file of this name, as it was first published or with a dot, raw or compressed.
inline std::string find_idx(const std::string& dir, const std::string& part, const std::string& type) {
  const std::string path = text(dir, "/", part, "-", type), dotted = text(dir, "/", part, ".", type);
  return find_data({path, path + ".gz", dotted, dotted + ".gz"}, dir);
}

template <class Scalar>
TensorDataset<Scalar> load_idx(const std::string& dir, const std::string& name, bool train) {
  const std::string stem = text(name, "/", train ? "train" : "t10k");
  const std::string image_path = find_idx(dir, stem + "-images", "idx3-ubyte");
  const std::string label_path = find_idx(dir, stem + "-labels", "idx1-ubyte");
  const Tensor<std::uint8_t> images = decode_idx(read_file(image_path), image_path);
  const Tensor<std::uint8_t> labels = decode_idx(read_file(label_path), label_path);
  require<FileError>(images.rank() == 3, image_path, ": expected images [N, H, W], found shape ", images.shape());
  require<FileError>(labels.rank() == 1, label_path, ": expected labels [N], found shape ", labels.shape());
  require<FileError>(labels.dim(0) == images.dim(0), label_path, ": ", labels.dim(0), " labels, but ", image_path,
                     " has ", images.dim(0), " images");
  for (Index i = 0; i < labels.numel(); ++i)
    require<FileError>(labels.data()[i] < 10, label_path, ": label ", i, ": expected 0 to 9, found ",
                       int{labels.data()[i]});
  return TensorDataset<Scalar>(images.reshape({images.dim(0), 1, images.dim(1), images.dim(2)}),
                               labels.cast<std::int32_t>());
}

template <class Scalar>
TensorDataset<Scalar> load_cifar(const std::vector<std::string>& files, const std::string& dir, Index classes) {
  std::vector<CifarRecords> parts;
  Index count = 0;
  for (const std::string& file : files) {
    const std::string path = find_data({text(dir, "/", file)}, dir);
    parts.push_back(decode_cifar(read_file(path), classes, path));
    count += parts.back().labels.dim(0);
  }
  CifarRecords all{Tensor<std::uint8_t>({count, 3, 32, 32}), Labels({count})};
  std::uint8_t* image = all.images.data();
  std::int32_t* label = all.labels.data();
  for (const CifarRecords& part : parts) {
    image = std::copy_n(part.images.data(), part.images.numel(), image);
    label = std::copy_n(part.labels.data(), part.labels.numel(), label);
  }
  return TensorDataset<Scalar>(std::move(all.images), std::move(all.labels));
}

}  // namespace detail

/// MNIST (LeCun, Cortes, Burges): 60,000 training or 10,000 test images [1, 28, 28], classes digit_classes, from the
/// IDX files, raw or .gz, named as they were published or with a dot (train-images.idx3-ubyte). Throws FileError,
/// naming the file, when one is missing or damaged.
template <class Scalar = float>
TensorDataset<Scalar> load_mnist(const std::string& dir, bool train = true) {
  return detail::load_idx<Scalar>(dir, "mnist", train);
}

/// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), in MNIST's format; classes fashion_mnist_classes.
template <class Scalar = float>
TensorDataset<Scalar> load_fashion_mnist(const std::string& dir, bool train = true) {
  return detail::load_idx<Scalar>(dir, "fashion-mnist", train);
}

/// CIFAR-10 (Krizhevsky 2009): 50,000 training or 10,000 test images [3, 32, 32], classes cifar10_classes, from the
/// binary files. Throws FileError, naming the file, when one is missing or damaged.
template <class Scalar = float>
TensorDataset<Scalar> load_cifar10(const std::string& dir, bool train = true) {
  std::vector<std::string> files;
  for (int part = 1; train && part <= 5; ++part)
    files.push_back(text("cifar10/cifar-10-batches-bin/data_batch_", part, ".bin"));
  if (!train) files.push_back("cifar10/cifar-10-batches-bin/test_batch.bin");
  return detail::load_cifar<Scalar>(files, dir, 10);
}

/// CIFAR-100 with its 100 fine classes, cifar100_classes.
template <class Scalar = float>
TensorDataset<Scalar> load_cifar100(const std::string& dir, bool train = true) {
  return detail::load_cifar<Scalar>(
      {train ? "cifar100/cifar-100-binary/train.bin" : "cifar100/cifar-100-binary/test.bin"}, dir, 100);
}

}  // namespace lamina::inline LAMINA_ABI

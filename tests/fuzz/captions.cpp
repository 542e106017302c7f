#include "lamina/data/captions.hpp"

#include "fuzz.hpp"

FUZZ_TARGET(captions, const std::uint8_t* data, std::size_t size) {
  fuzz::attempt("f", [&] {
    for (const lamina::ImageCaptions& entry : lamina::decode_captions(fuzz::text({data, size}), "f"))
      fuzz::expect(!entry.image.empty() && !entry.captions.empty(), "an image without name or captions");
  });
  return 0;
}

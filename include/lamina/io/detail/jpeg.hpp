#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/core/error.hpp"
#include "lamina/core/shape.hpp"
#include "lamina/io/file.hpp"

namespace lamina::inline LAMINA_ABI::detail {

/// A JPEG file in the form that stb is given, what its frame says, and the bytes of all scans.
struct PlainJpeg {
  Bytes bytes;
  Index width = 0, height = 0, compressed = 0;
};

/// Brings a JPEG file into the one form that stb is given: each segment whole and behind its marker, no padding, no
/// unknown markers, Huffman tables within their segments and of at most the 256 codes for which stb has room, and its
/// end, which stb would make up. Restart markers with nothing behind them, which some cameras write before the end, are
/// left out. So stb sees nothing that was not looked at here.
class JpegReader {
 public:
  JpegReader(std::span<const std::uint8_t> file, const std::string& source) : file_(file), source_(source) {}

  /// Throws FileError for what is cut short, damaged or of a kind that stb does not read.
  PlainJpeg run() {
    out_.bytes = {0xff, 0xd8};
    for (std::size_t at = 2; (at = next_marker(at)) + 2 <= file_.size();) {
      const std::uint8_t marker = file_[at + 1];
      if (marker == 0xd9) {
        out_.bytes.insert(out_.bytes.end(), {0xff, 0xd9});
        return std::move(out_);
      }
      at = copy_segment(at, marker);
      if (marker == 0xda) at = copy_scan(at);
    }
    throw FileError(text(source_, ": the JPEG image is cut short at offset ", file_.size()));
  }

 private:
  static constexpr int max_scans = 100;  // encoders write a dozen; each costs a pass over the whole image

  template <class... Parts>
  void check(bool condition, const Parts&... parts) const {
    if (!condition) throw FileError(text(source_, ": the JPEG image ", parts...));
  }
  Index number(std::size_t at) const { return Index{file_[at]} << 8 | file_[at + 1]; }
  static bool is_restart(std::uint8_t byte) { return byte >= 0xd0 && byte <= 0xd7; }

  /// The next marker that is neither padding nor a part of compressed data.
  std::size_t next_marker(std::size_t at) const {
    while (at + 2 <= file_.size() &&
           (file_[at] != 0xff || file_[at + 1] == 0 || file_[at + 1] == 0xff || is_restart(file_[at + 1])))
      ++at;
    return at;
  }

  /// Returns where the segment ends.
  std::size_t copy_segment(std::size_t at, std::uint8_t marker) {
    constexpr std::string_view known = "\xc0\xc1\xc2\xc4\xda\xdb\xdc\xdd\xfe";
    check((marker >= 0xe0 && marker <= 0xef) || known.find(static_cast<char>(marker)) != std::string_view::npos,
          "has a part of a kind that is not supported (lossless, arithmetic or hierarchical coding?): marker ",
          int{marker}, " at offset ", at);
    check(at + 4 <= file_.size(), "is cut short at offset ", file_.size());
    const auto length = static_cast<std::size_t>(number(at + 2));
    check(length >= 2, "is damaged: a segment of ", length, " bytes at offset ", at);
    check(length <= file_.size() - at - 2, "is cut short: a segment of ", length, " bytes at offset ", at, ", ",
          file_.size() - at - 2, " are left");
    if (marker == 0xc4) check_tables(at + 4, at + 2 + length);
    if (marker <= 0xc2 && length >= 7) {
      out_.height = number(at + 5);
      out_.width = number(at + 7);
    }
    if (marker == 0xda) check(++scans_ <= max_scans, "has more than ", max_scans, " scans, at offset ", at);
    const auto segment = file_.subspan(at, length + 2);
    out_.bytes.insert(out_.bytes.end(), segment.begin(), segment.end());
    return at + 2 + length;
  }

  void check_tables(std::size_t at, std::size_t end) const {
    while (at < end) {
      check(end - at >= 17, "is damaged: a Huffman table of ", end - at, " bytes at offset ", at);
      const auto lengths = file_.subspan(at + 1, 16);
      const std::size_t codes = std::accumulate(lengths.begin(), lengths.end(), std::size_t{0});
      check(codes <= 256 && codes <= end - at - 17, "is damaged: Huffman table of ", codes, " codes at offset ", at);
      at += 17 + codes;
    }
  }

  /// Copies compressed data without the padding and the restart markers at its end. Returns where it ends.
  std::size_t copy_scan(std::size_t begin) {
    const std::size_t next = next_marker(begin);
    std::size_t end = std::min(next, file_.size());
    while (true) {
      if (end > begin && file_[end - 1] == 0xff)
        --end;
      else if (end >= begin + 2 && is_restart(file_[end - 1]) && file_[end - 2] == 0xff)
        end -= 2;
      else
        break;
    }
    const auto data = file_.subspan(begin, end - begin);
    out_.bytes.insert(out_.bytes.end(), data.begin(), data.end());
    out_.compressed += static_cast<Index>(data.size());
    return next;
  }

  std::span<const std::uint8_t> file_;
  const std::string& source_;
  PlainJpeg out_;
  int scans_ = 0;
};

}  // namespace lamina::inline LAMINA_ABI::detail

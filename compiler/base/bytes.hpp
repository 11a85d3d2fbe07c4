// ByteWriter and ByteReader: the primitive layer of every binary format of ours (varints, little
// endian, length-counted).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace kflow {

/// Where long texts go that are kept once, outside the bytes that refer to them.
class LargeSink {
 public:
  virtual ~LargeSink() = default;
  /// Keeps a copy; gives its SHA-256 (32 bytes).
  virtual std::string put(std::string_view text) = 0;
  /// What is written refers to bytes of this SHA-256, which are kept already.
  virtual void refer(std::string_view hash) { (void)hash; }
};
class LargeSource {
 public:
  virtual ~LargeSource() = default;
  /// The text of that hash; nothing if it cannot be had.
  virtual std::optional<std::string> get(std::string_view hash) = 0;
};
/// Texts shorter than this stay where they are.
inline constexpr size_t large_bytes = 2048;

/// Appends to a string it owns. Not thread-safe.
class ByteWriter {
 public:
  ByteWriter() = default;
  /// Values written to it leave their long texts in `large`.
  explicit ByteWriter(LargeSink* large) : large_(large) {}
  LargeSink* large() const { return large_; }
  void u8(uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void varint(uint64_t v) {
    while (v >= 0x80) {
      out_.push_back(static_cast<char>(v | 0x80));
      v >>= 7;
    }
    out_.push_back(static_cast<char>(v));
  }
  /// Signed, zig-zag.
  void svarint(int64_t v) {
    varint((static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63));
  }
  void u32(uint32_t v) { fixed(v); }
  void u64(uint64_t v) { fixed(v); }
  void f64(double v) { fixed(std::bit_cast<uint64_t>(v)); }
  void boolean(bool v) { u8(v ? 1 : 0); }
  void raw(std::string_view v) { out_.append(v); }
  /// Length (varint), then the bytes.
  void string(std::string_view v) {
    varint(v.size());
    out_.append(v);
  }
  size_t size() const { return out_.size(); }
  std::string& buffer() { return out_; }
  std::string take() { return std::move(out_); }

 private:
  template <typename U>
  void fixed(U v) {
    static_assert(std::endian::native == std::endian::little);
    char b[sizeof v];
    std::memcpy(b, &v, sizeof v);
    out_.append(b, sizeof v);
  }
  std::string out_;
  LargeSink* large_ = nullptr;
};

/// Reads from a view it does not own. Reading past the end or a malformed varint sets `failed()`,
/// and from then on every read gives zero or empty: callers check once at the end, and check counts
/// against `remaining()` before they allocate.
class ByteReader {
 public:
  explicit ByteReader(std::string_view in, LargeSource* large = nullptr) : in_(in), large_(large) {}
  LargeSource* large() const { return large_; }
  uint8_t u8() {
    if (pos_ >= in_.size()) return fail(), uint8_t{0};
    return static_cast<uint8_t>(in_[pos_++]);
  }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = u8();
      if (failed_) return 0;
      if (shift == 63 && b > 1) return fail(), uint64_t{0};
      v |= static_cast<uint64_t>(b & 0x7f) << shift;
      if ((b & 0x80) == 0) return v;
    }
    return fail(), uint64_t{0};
  }
  int64_t svarint() {
    const uint64_t v = varint();
    return static_cast<int64_t>((v >> 1) ^ (~(v & 1) + 1));
  }
  /// A varint that must fit 32 bits.
  uint32_t varint32() {
    const uint64_t v = varint();
    if (v > 0xffffffffU) return fail(), uint32_t{0};
    return static_cast<uint32_t>(v);
  }
  /// A count of items of at least one byte each: more than `remaining()` is a failure, so it is
  /// safe to reserve.
  size_t count() {
    const uint64_t v = varint();
    if (v > remaining()) return fail(), size_t{0};
    return static_cast<size_t>(v);
  }
  uint32_t u32() { return fixed<uint32_t>(); }
  uint64_t u64() { return fixed<uint64_t>(); }
  double f64() { return std::bit_cast<double>(fixed<uint64_t>()); }
  bool boolean() {
    const uint8_t v = u8();
    if (v > 1) fail();
    return v == 1;
  }
  std::string_view raw(size_t n) {
    if (n > remaining()) return fail(), std::string_view{};
    const std::string_view v = in_.substr(pos_, n);
    pos_ += n;
    return v;
  }
  std::string_view string() { return raw(count()); }
  void fail() {
    failed_ = true;
    pos_ = in_.size();
  }
  bool failed() const { return failed_; }
  size_t remaining() const { return in_.size() - pos_; }
  /// True when everything was read and nothing failed.
  bool done() const { return !failed_ && remaining() == 0; }

 private:
  template <typename U>
  U fixed() {
    if (remaining() < sizeof(U)) return fail(), U{0};
    U v;
    std::memcpy(&v, in_.data() + pos_, sizeof v);
    pos_ += sizeof v;
    return v;
  }
  std::string_view in_;
  LargeSource* large_ = nullptr;
  size_t pos_ = 0;
  bool failed_ = false;
};

}  // namespace kflow

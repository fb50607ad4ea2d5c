/**
 * The inner loops over long strings: finding a JSON string's end, strict base64 (spec qemu-ga.md section 3). SSE2 is
 * part of x86-64 and used always, AVX2 where the processor has it, tables elsewhere.
 */
#include <immintrin.h>

#include "call.h"

namespace {

constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// --- tables, made by the compiler

constexpr uint8_t letter_padding = 64;
constexpr uint8_t letter_newline = 65;
constexpr uint8_t letter_wrong = 66;

/** Of each byte its six bits, or which of the others it is. */
struct Letters {
  uint8_t of[256];
  constexpr Letters() : of() {
    for (auto& value : of) value = letter_wrong;
    for (int i = 0; i < 64; i++) of[static_cast<uint8_t>(alphabet[i])] = static_cast<uint8_t>(i);
    of[static_cast<uint8_t>('=')] = letter_padding;
    of[static_cast<uint8_t>('\n')] = letter_newline;
  }
};
constexpr Letters letters;

/**
 * The six bits of each letter where they belong in the three bytes of its group, first byte lowest; `bad` for what is
 * not in the alphabet.
 */
struct Groups {
  static constexpr uint32_t bad = 1u << 24;
  uint32_t at[4][256];
  constexpr Groups() : at() {
    for (int place = 0; place < 4; place++) {
      for (int byte = 0; byte < 256; byte++) {
        uint32_t bits = uint32_t{letters.of[byte]} << (18 - 6 * place);
        uint32_t swapped = bits >> 16 | (bits & 0xff00) | (bits & 0xff) << 16;
        at[place][byte] = letters.of[byte] < 64 ? swapped : bad;
      }
    }
  }
};
constexpr Groups groups;

/** Two letters for twelve bits, the first in the lower byte. */
struct Pairs {
  uint16_t of[4096];
  constexpr Pairs() : of() {
    for (int i = 0; i < 4096; i++) {
      of[i] = static_cast<uint16_t>(static_cast<uint8_t>(alphabet[i >> 6]) |
                                    static_cast<uint8_t>(alphabet[i & 63]) << 8);
    }
  }
};
constexpr Pairs pairs;

const bool has_avx2 = __builtin_cpu_supports("avx2");

// --- JSON strings

constexpr int scan_non_base64 = 1;
constexpr int scan_non_ascii = 2;

bool in_base64(uint8_t byte) { return letters.of[byte] <= letter_padding; }

bool ends_string(uint8_t byte, uint8_t quote) {
  return byte == quote || byte == '\\' || byte < 0x20 || byte >= 0xfe;
}

/** 0xFF where low <= byte < low + span. */
inline __m128i within(__m128i bytes, uint8_t low, uint8_t span) {
  __m128i offset = _mm_sub_epi8(bytes, _mm_set1_epi8(static_cast<char>(low)));
  return _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8(static_cast<char>(span - 1))), offset);
}

inline __m128i equal(__m128i bytes, uint8_t byte) {
  return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(static_cast<char>(byte)));
}

/** 0xFF for `A-Za-z0-9+/=`. */
inline __m128i base64_bytes(__m128i bytes) {
  __m128i letter = within(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 26);
  __m128i digit_or_slash = within(bytes, '/', 11);
  return _mm_or_si128(_mm_or_si128(letter, digit_or_slash), _mm_or_si128(equal(bytes, '+'), equal(bytes, '=')));
}

inline __m128i load(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

/** The first byte from `at` on that is not in the base64 alphabet, or `size`. */
size_t skip_base64(const uint8_t* data, size_t at, size_t size) {
  for (; at + 64 <= size; at += 64) {
    __m128i all = _mm_and_si128(_mm_and_si128(base64_bytes(load(data + at)), base64_bytes(load(data + at + 16))),
                                _mm_and_si128(base64_bytes(load(data + at + 32)), base64_bytes(load(data + at + 48))));
    if (_mm_movemask_epi8(all) != 0xffff) break;
  }
  while (at < size && in_base64(data[at])) at++;
  return at;
}

/** The index, and which bytes lie before it in *flags. */
size_t scan(const uint8_t* data, size_t size, uint8_t quote, int* flags) {
  size_t at = 0;
  *flags = 0;
  // as long as all are base64 letters none can end the string
  if (!in_base64(quote)) at = skip_base64(data, 0, size);
  for (; at + 16 <= size; at += 16) {
    __m128i bytes = load(data + at);
    // 0xFE, 0xFF, 0x00 ... 0x1F are one range
    __m128i ends = _mm_or_si128(within(bytes, 0xfe, 0x22), _mm_or_si128(equal(bytes, quote), equal(bytes, '\\')));
    int end_bits = _mm_movemask_epi8(ends);
    int other_bits = ~_mm_movemask_epi8(base64_bytes(bytes)) & 0xffff;
    int high_bits = _mm_movemask_epi8(bytes);
    // those below the lowest end bit, or all
    int before = end_bits ? (end_bits & -end_bits) - 1 : 0xffff;
    if (other_bits & before) *flags |= scan_non_base64;
    if (high_bits & before) *flags |= scan_non_ascii;
    if (end_bits) return at + static_cast<size_t>(__builtin_ctz(static_cast<unsigned>(end_bits)));
  }
  for (; at < size && !ends_string(data[at], quote); at++) {
    if (!in_base64(data[at])) *flags |= scan_non_base64;
    if (data[at] >= 0x80) *flags |= scan_non_ascii;
  }
  return at;
}

napi_value scan_string(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  Bytes bytes = call.range(0);
  int64_t start = call.integer(1);
  int64_t quote = call.integer(3);
  if (call.failed) return nullptr;
  int flags;
  size_t index = scan(bytes.data, bytes.length, static_cast<uint8_t>(quote), &flags);
  return number(env, (start + static_cast<int64_t>(index)) * 4 + flags);
}

// --- decoding: `out` never overtakes `in`, so both may be the same memory

struct Cursor {
  const uint8_t* in;
  uint8_t* out;
};

/**
 * 32 letters to 24 bytes as long as all are in the alphabet. The upper half of a letter selects the range it must lie
 * in and what to add to it. A store writes 8 bytes too many, over letters that have been read already.
 */
__attribute__((target("avx2"))) Cursor decode_avx2(Cursor cursor, const uint8_t* end) {
  // a bound from another row, so that nothing in this one lies within
  constexpr char none = static_cast<char>(0x80);
  const __m256i low = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(none, none, '+', '0', 'A', 'P', 'a', 'p', 0, 0, 0, 0, 0, 0, 0, 0));
  const __m256i high = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(none, none, '+', '9', 'O', 'Z', 'o', 'z', 0, 0, 0, 0, 0, 0, 0, 0));
  const __m256i offset = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 0, 62 - '+', 52 - '0', -'A', -'A', 26 - 'a', 26 - 'a', 0, 0, 0, 0, 0, 0, 0, 0));
  const __m256i slash = _mm256_set1_epi8('/');
  const __m256i slash_more = _mm256_set1_epi8((63 - '/') - (62 - '+'));
  const __m256i nibble = _mm256_set1_epi8(0x0f);
  // a = 6 bits << 6 | b, then the two twelves of a group to 24 bits, then without the gaps and big-endian
  const __m256i join_letters = _mm256_set1_epi32(0x01400140);
  const __m256i join_twelves = _mm256_set1_epi32(0x00011000);
  const __m256i close_gaps = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1));
  const __m256i join_halves = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
  for (; end - cursor.in >= 32; cursor.in += 32, cursor.out += 24) {
    __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(cursor.in));
    __m256i row = _mm256_and_si256(_mm256_srli_epi32(text, 4), nibble);
    __m256i inside =
        _mm256_min_epu8(_mm256_max_epu8(text, _mm256_shuffle_epi8(low, row)), _mm256_shuffle_epi8(high, row));
    __m256i is_slash = _mm256_cmpeq_epi8(text, slash);
    __m256i good = _mm256_or_si256(_mm256_cmpeq_epi8(inside, text), is_slash);
    if (_mm256_movemask_epi8(good) != -1) break;
    __m256i bits = _mm256_add_epi8(_mm256_add_epi8(text, _mm256_shuffle_epi8(offset, row)),
                                   _mm256_and_si256(is_slash, slash_more));
    __m256i words = _mm256_madd_epi16(_mm256_maddubs_epi16(bits, join_letters), join_twelves);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(words, close_gaps), join_halves);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(cursor.out), bytes);
  }
  return cursor;
}

/** Whole groups of letters of the alphabet. Here too the store's last byte falls on a letter that has been read. */
Cursor decode_groups(Cursor cursor, const uint8_t* end) {
  for (; end - cursor.in >= 4; cursor.in += 4, cursor.out += 3) {
    uint32_t bits = groups.at[0][cursor.in[0]] | groups.at[1][cursor.in[1]] | groups.at[2][cursor.in[2]] |
                    groups.at[3][cursor.in[3]];
    if (bits & Groups::bad) break;
    memcpy(cursor.out, &bits, 4);
  }
  return cursor;
}

/** One group of four among newlines and padding, or what is left of one. False if it holds a wrong letter. */
bool decode_group(Cursor* cursor, const uint8_t* end) {
  uint32_t bits = 0;
  uint8_t group[4] = {};
  for (int count = 0; cursor->in < end;) {
    uint8_t letter = letters.of[*cursor->in];
    if (letter == letter_wrong) return false;
    cursor->in++;
    if (letter == letter_newline) {
      // lines mostly end between groups; the next one is likely clean
      if (count == 0) return true;
      continue;
    }
    group[count++] = letter;
    bits = bits << 6 | (letter & 63);
    if (count < 4) continue;
    // padding counts as a letter of value 0; only in the last two places does it take a byte away
    *cursor->out++ = static_cast<uint8_t>(bits >> 16);
    if (group[2] != letter_padding) *cursor->out++ = static_cast<uint8_t>(bits >> 8);
    if (group[3] != letter_padding) *cursor->out++ = static_cast<uint8_t>(bits);
    return true;
  }
  return true;
}

int64_t decode(uint8_t* text, size_t size) {
  Cursor cursor = {text, text};
  const uint8_t* end = text + size;
  while (cursor.in < end) {
    if (has_avx2) cursor = decode_avx2(cursor, end);
    cursor = decode_groups(cursor, end);
    if (!decode_group(&cursor, end)) return -1;
  }
  return cursor.out - text;
}

napi_value decode_now(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  Bytes bytes = call.range(0);
  return call.failed ? nullptr : number(env, decode(bytes.data, bytes.length));
}

struct Decoding {
  Bytes bytes;
  int64_t result;
  napi_ref buffer;  // keeps the memory alive
  napi_deferred promise;
  napi_async_work work;
};

void run_decoding(napi_env, void* data) {
  auto* decoding = static_cast<Decoding*>(data);
  decoding->result = decode(decoding->bytes.data, decoding->bytes.length);
}

void end_decoding(napi_env env, napi_status, void* data) {
  auto* decoding = static_cast<Decoding*>(data);
  napi_resolve_deferred(env, decoding->promise, number(env, decoding->result));
  napi_delete_reference(env, decoding->buffer);
  napi_delete_async_work(env, decoding->work);
  free(decoding);
}

napi_value decode_later(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  Bytes bytes = call.range(0);
  if (call.failed) return nullptr;
  auto* decoding = static_cast<Decoding*>(calloc(1, sizeof(Decoding)));
  if (!decoding) {
    throw_system_error(env, ENOMEM, "malloc");
    return nullptr;
  }
  decoding->bytes = bytes;
  napi_value promise, name;
  napi_create_promise(env, &decoding->promise, &promise);
  napi_create_reference(env, call[0], 1, &decoding->buffer);
  napi_create_string_utf8(env, "chr-agent base64", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, run_decoding, end_decoding, decoding, &decoding->work);
  napi_queue_async_work(env, decoding->work);
  return promise;
}

// --- encoding

size_t encode(const uint8_t* in, size_t size, uint8_t* out) {
  uint8_t* begin = out;
  // six bytes at a time out of eight that are read
  for (; size >= 8; in += 6, size -= 6, out += 8) {
    uint64_t bits;
    memcpy(&bits, in, 8);
    bits = __builtin_bswap64(bits);
    uint64_t text = uint64_t{pairs.of[bits >> 52]} | uint64_t{pairs.of[bits >> 40 & 0xfff]} << 16 |
                    uint64_t{pairs.of[bits >> 28 & 0xfff]} << 32 | uint64_t{pairs.of[bits >> 16 & 0xfff]} << 48;
    memcpy(out, &text, 8);
  }
  for (; size > 0; out += 4) {
    uint32_t bits = uint32_t{in[0]} << 16 | (size > 1 ? uint32_t{in[1]} << 8 : 0) | (size > 2 ? in[2] : 0);
    memcpy(out, &pairs.of[bits >> 12], 2);
    memcpy(out + 2, &pairs.of[bits & 0xfff], 2);
    if (size < 3) out[3] = '=';
    if (size < 2) out[2] = '=';
    size_t used = size < 3 ? size : 3;
    in += used;
    size -= used;
  }
  return static_cast<size_t>(out - begin);
}

napi_value encode_now(napi_env env, napi_callback_info info) {
  Arguments<5> call(env, info);
  Bytes source = call.range(0);
  Bytes target = call.array(3);
  int64_t at = call.integer(4);
  if (call.failed) return nullptr;
  size_t needed = (source.length + 2) / 3 * 4;
  if (at < 0 || static_cast<uint64_t>(at) > target.length || target.length - static_cast<size_t>(at) < needed) {
    call.fail_range("the target is too small");
    return nullptr;
  }
  return number(env, static_cast<int64_t>(encode(source.data, source.length, target.data + at)));
}

}  // namespace

void define_base64(napi_env env, napi_value exports) {
  define(env, exports, "scanString", scan_string);
  define(env, exports, "base64Decode", decode_now);
  define(env, exports, "base64DecodeAsync", decode_later);
  define(env, exports, "base64Encode", encode_now);
}

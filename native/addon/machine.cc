/** The machine: CPUID, the wall clock and its rate, and the text of an error number. */
#include <cpuid.h>
#include <locale.h>
#include <sys/timex.h>
#include <time.h>

#include "call.h"

namespace {

constexpr int64_t second = 1000000000;
// made when the addon is loaded: a static in the function would need libstdc++'s guards, and a newer glibc with them
locale_t c_locale = newlocale(LC_ALL_MASK, "C", nullptr);

napi_value cpuid(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  auto leaf = static_cast<uint32_t>(call.integer(0));
  auto subleaf = static_cast<uint32_t>(call.integer(1));
  if (call.failed) return nullptr;
  uint32_t registers[4];
  __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
  napi_value array;
  napi_create_array_with_length(env, 4, &array);
  for (uint32_t i = 0; i < 4; i++) napi_set_element(env, array, i, number(env, registers[i]));
  return array;
}

napi_value real_time_clock(napi_env env, napi_callback_info) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  napi_value result;
  napi_create_bigint_int64(env, now.tv_sec * second + now.tv_nsec, &result);
  return result;
}

napi_value set_real_time_clock(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int64_t nanoseconds = 0;
  bool exact = false;
  if (napi_get_value_bigint_int64(env, call[0], &nanoseconds, &exact) != napi_ok) {
    call.fail_type("a bigint is expected");
  } else if (!exact) {
    call.fail_range("nanoseconds must fit in 64 bits");
  }
  if (call.failed) return nullptr;
  timespec time = {nanoseconds / second, nanoseconds % second};
  if (time.tv_nsec < 0) {
    time.tv_nsec += second;
    time.tv_sec--;
  }
  return system_result(env, clock_settime(CLOCK_REALTIME, &time));
}

napi_value adjust_clock(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  timex adjustment = {};
  adjustment.modes = static_cast<unsigned>(call.integer(0));
  adjustment.offset = static_cast<long>(call.integer(1));
  adjustment.tick = static_cast<long>(call.integer(2));
  if (call.failed) return nullptr;
  int64_t result = adjtimex(&adjustment);
  napi_value array;
  napi_create_array_with_length(env, 3, &array);
  napi_set_element(env, array, 0, system_result(env, result));
  napi_set_element(env, array, 1, number(env, adjustment.tick));
  napi_set_element(env, array, 2, number(env, adjustment.status));
  return array;
}

napi_value error_text(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int64_t error = call.integer(0);
  if (call.failed) return nullptr;
  napi_value text;
  // the functions here return -errno, so both signs are common
  napi_create_string_utf8(env, strerror_l(static_cast<int>(error < 0 ? -error : error), c_locale),
                          NAPI_AUTO_LENGTH, &text);
  return text;
}

}  // namespace

void define_machine(napi_env env, napi_value exports) {
  define(env, exports, "cpuid", cpuid);
  define(env, exports, "realTimeClock", real_time_clock);
  define(env, exports, "setRealTimeClock", set_real_time_clock);
  define(env, exports, "adjustClock", adjust_clock);
  define(env, exports, "errorText", error_text);
}

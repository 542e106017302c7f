# The kernels of lamina/compiled/kernels.inc for three instruction sets, and the functions that choose.
# (Those for old processors, which hardly run, are to be small. -O3 would make them all a quarter larger and no faster.)
set(flags_sse2 $<$<CONFIG:Release>:-Os>)
set(flags_avx2 $<$<CONFIG:Release>:-O2> -mavx2 -mfma)
set(flags_avx512 $<$<CONFIG:Release>:-O2> -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma)
foreach(scalar float double)
  set(forms)
  foreach(isa sse2 avx2 avx512)
    set(source "${PROJECT_BINARY_DIR}/compiled/kernels_${isa}_${scalar}.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "#include <lamina/compiled/kernels.hpp>

namespace lamina::kernels {
inline namespace @isa@ {
namespace forms {
#define LAMINA_SCALAR @scalar@
#define LAMINA_KERNEL(result, form, kernel, parameters, arguments) \\
  result form##_@scalar@ parameters { return LAMINA_BARE kernel arguments; }
#include <lamina/compiled/kernels.inc>
}  // namespace forms
}  // namespace @isa@
}  // namespace lamina::kernels
" @ONLY)
    add_library(lamina_kernels_${isa}_${scalar} OBJECT EXCLUDE_FROM_ALL "${source}")
    target_link_libraries(lamina_kernels_${isa}_${scalar} PRIVATE lamina $<TARGET_NAME_IF_EXISTS:lamina_build>)
    target_compile_definitions(lamina_kernels_${isa}_${scalar} PRIVATE LAMINA_KERNEL_FORM)
    target_compile_options(lamina_kernels_${isa}_${scalar} PRIVATE ${flags_${isa}} -ffunction-sections -fdata-sections)
    set_target_properties(lamina_kernels_${isa}_${scalar} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    list(APPEND forms $<TARGET_OBJECTS:lamina_kernels_${isa}_${scalar}>)
  endforeach()
  # One object of the three, in this order: of functions that several have, such as those of the standard library, the
  # linker takes the least instruction set's.
  set(object "${PROJECT_BINARY_DIR}/compiled/kernels_${scalar}.o")
  add_custom_command(OUTPUT "${object}" COMMAND "${CMAKE_LINKER}" -r -o "${object}" ${forms} DEPENDS ${forms}
                     COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties("${object}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)

  set(source "${PROJECT_BINARY_DIR}/compiled/chosen_${scalar}.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <lamina/compiled/kernels.hpp>

#define LAMINA_SCALAR @scalar@
namespace lamina::kernels {
#define LAMINA_KERNEL(result, form, kernel, parameters, arguments) result form##_@scalar@ parameters;
namespace sse2::forms {
#include <lamina/compiled/kernels.inc>
}  // namespace sse2::forms
namespace avx2::forms {
#include <lamina/compiled/kernels.inc>
}  // namespace avx2::forms
namespace avx512::forms {
#include <lamina/compiled/kernels.inc>
}  // namespace avx512::forms
#undef LAMINA_KERNEL

inline namespace chosen {
#define LAMINA_KERNEL(result, form, kernel, parameters, arguments)            \\
  template <>                                                                 \\
  result LAMINA_BARE kernel parameters {                                      \\
    switch (width_of_kernels()) {                                             \\
      case 64: return avx512::forms::form##_@scalar@ arguments;               \\
      case 32: return avx2::forms::form##_@scalar@ arguments;                 \\
      default: return sse2::forms::form##_@scalar@ arguments;                 \\
    }                                                                         \\
  }
#include <lamina/compiled/kernels.inc>
}  // namespace chosen
}  // namespace lamina::kernels
" @ONLY)
  target_sources(lamina_compiled PRIVATE "${source}" "${object}")
endforeach()

file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/compiled/instruction_set.cpp" CONTENT [[#include <lamina/compiled/kernels.hpp>
#include <lamina/core/error.hpp>

#include <array>
#include <cstdlib>
#include <string_view>

namespace {

struct InstructionSet {
  const char* name;
  int bytes;  // of its vectors
  bool here;  // on this processor
};

const InstructionSet& choose() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  static const std::array all{InstructionSet{"avx512", 64, avx512}, InstructionSet{"avx2", 32, avx2},
                              InstructionSet{"sse2", 16, true}};
  const char* const asked = std::getenv("LAMINA_ISA");
  for (const InstructionSet& set : all) {
    if (asked ? set.name != std::string_view(asked) : !set.here) continue;
    lamina::require<lamina::ValueError>(set.here, "LAMINA_ISA: this processor has no ", set.name);
    return set;
  }
  lamina::fail<lamina::ValueError>("LAMINA_ISA: expected sse2, avx2 or avx512, got '", asked, "'");
}

const InstructionSet& choice() {
  static const InstructionSet& set = choose();
  return set;
}

}  // namespace

const char* lamina::instruction_set() { return choice().name; }
int lamina::kernels::width_of_kernels() { return choice().bytes; }
]])
target_sources(lamina_compiled PRIVATE "${PROJECT_BINARY_DIR}/compiled/instruction_set.cpp")
target_compile_definitions(lamina_compiled PUBLIC LAMINA_DISPATCHED)

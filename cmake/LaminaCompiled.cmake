# lamina::compiled: the templates of lamina/compiled/*.inc, instantiated once for float and double. A program that links it
# compiles in a fraction of the time. Header-only is the default.
# Where nothing says which processor it is for, on x86-64, the kernels are there for three instruction sets, and a
# program chooses when it calls the first: programs need no -march.
include(CheckCXXSourceCompiles)
check_cxx_source_compiles("#if !defined(__x86_64__) || !defined(__ELF__) || defined(__AVX__)
#error
#endif
int main() {}" LAMINA_ANY_X86_64)
set(LAMINA_DISPATCHED OFF)
if(LAMINA_ANY_X86_64 AND NOT LAMINA_NATIVE)
  set(LAMINA_DISPATCHED ON)
endif()

add_library(lamina_compiled STATIC EXCLUDE_FROM_ALL)
add_library(lamina::compiled ALIAS lamina_compiled)
# lamina_add_compiled(name options text): a source of it.
function(lamina_add_compiled name options text)
  set(source "${PROJECT_BINARY_DIR}/compiled/${name}.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "${text}" @ONLY)
  set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "$<$<CONFIG:Release>:${options}>")
  target_sources(lamina_compiled PRIVATE "${source}")
endfunction()
# lamina_add_instantiations(name options part_scalar...): a source of lamina::compiled with these parts for these types.
# What a part has in common with another is compiled once when they are in one source.
function(lamina_add_instantiations name options)
  set(text "#include <lamina/lamina.hpp>\n\nnamespace lamina {\n#define LAMINA_TEMPLATE template\n")
  foreach(instance IN LISTS ARGN)
    string(REGEX MATCH "^(.+)_(.+)$" unused "${instance}")
    string(APPEND text "#define LAMINA_SCALAR ${CMAKE_MATCH_2}\n#include <lamina/compiled/${CMAKE_MATCH_1}.inc>\n"
                       "#undef LAMINA_SCALAR\n")
  endforeach()
  lamina_add_compiled(${name} "${options}" "${text}}  // namespace lamina\n")
endfunction()
# lamina_add_kernels(scalar options): the kernels of lamina/compiled/kernels.inc, for one instruction set.
function(lamina_add_kernels scalar options)
  lamina_add_compiled(kernels_${scalar} "${options}" "#include <lamina/lamina.hpp>

namespace lamina::kernels::inline LAMINA_KERNELS {
#define LAMINA_SCALAR ${scalar}
#define LAMINA_KERNEL(result, form, kernel, parameters, arguments) template result LAMINA_BARE kernel parameters;
#include <lamina/compiled/kernels.inc>
}  // namespace lamina::kernels::inline LAMINA_KERNELS
")
endfunction()
# Kernels for one instruction set are units of their own. -O3 takes longer than -O2 and makes some layers a quarter faster.
# (With less than -O2 GCC unrolls no loop, and LAMINA_UNROLL's values lie in memory.) Layers for double, which is for
# checking gradients, and what only calls, should compile quickly; what is to suit any processor and calls kernels that do
# not, should be small.
set(layers_float -O3)
set(layers_double -O1)
if(LAMINA_DISPATCHED)
  set(layers_float -Os)
  set(layers_double -Os)
endif()
# The longest first.
if(NOT LAMINA_DISPATCHED)
  lamina_add_kernels(float -O2)
  lamina_add_kernels(double -O2)
endif()
lamina_add_instantiations(nn_float "${layers_float}" nn_float)
lamina_add_instantiations(nn_double "${layers_double}" nn_double)
lamina_add_instantiations(runs_float -O1 compile_float train_float)
lamina_add_instantiations(runs_double -O1 compile_double train_double)
lamina_add_instantiations(models -O1 models_float models_double)
lamina_add_compiled(testing "" "#include <lamina/lamina.hpp>
#include <lamina/testing/conformance.hpp>

template lamina::testing::Conformance lamina::testing::check_layer(const Module<double>&, const Shape&,
                                                                   const ConformanceOptions&);
")

target_link_libraries(lamina_compiled PUBLIC lamina::lamina)
target_compile_definitions(lamina_compiled PUBLIC LAMINA_COMPILED)
# Built for this machine's processor, it wants programs for the same.
target_compile_options(lamina_compiled INTERFACE $<$<BOOL:${LAMINA_NATIVE}>:-march=native>)
# A section for each function, and programs keep those they reach.
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang" AND NOT MSVC)
  target_compile_options(lamina_compiled PRIVATE -ffunction-sections -fdata-sections)
endif()
include(CheckLinkerFlag)
check_linker_flag(CXX "LINKER:--gc-sections" LAMINA_DROPS_SECTIONS)
if(LAMINA_DROPS_SECTIONS)
  target_link_options(lamina_compiled INTERFACE "LINKER:--gc-sections")
endif()
if(TARGET lamina_build)
  target_link_libraries(lamina_compiled PRIVATE $<BUILD_INTERFACE:lamina_build>)
endif()
if(LAMINA_COMPILED)
  set_target_properties(lamina_compiled PROPERTIES EXCLUDE_FROM_ALL FALSE)
endif()

if(LAMINA_DISPATCHED)
  include(LaminaDispatch)
endif()

# What lamina/compiled/version.hpp asks for.
lamina_add_compiled(version "" "#include <lamina/compiled/version.hpp>
#include <lamina/core/error.hpp>

const char* lamina::compiled_version() noexcept { return version; }

bool lamina::core_detail::require_compiled_version(int major, int minor, int patch) {
  const bool same = major == LAMINA_VERSION_MAJOR && minor == LAMINA_VERSION_MINOR && patch == LAMINA_VERSION_PATCH;
  require<Error>(same, \"this program is compiled with the headers of Lamina \", major, '.', minor, '.', patch,
                 \" and linked with lamina::compiled \", compiled_version(), \": both must be of one version\");
  return same;
}
")

# lamina::compiled_io: what lamina/io.hpp only declares with LAMINA_COMPILED_IO, and load_onnx and save_onnx for float, for
# this project's own programs.
if(TARGET lamina_io)
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/compiled/io.cpp" CONTENT "#define LAMINA_IO_INLINE
#include <lamina/lamina.hpp>
#include <lamina/compiled/io.inc>
" @ONLY)
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/compiled/onnx.cpp" CONTENT "#include <lamina/io/onnx.hpp>
#include <lamina/lamina.hpp>

namespace lamina {
#define LAMINA_TEMPLATE template
#include <lamina/compiled/onnx.inc>
}  // namespace lamina
" @ONLY)
  add_library(lamina_compiled_io STATIC EXCLUDE_FROM_ALL "${PROJECT_BINARY_DIR}/compiled/io.cpp"
                                                         "${PROJECT_BINARY_DIR}/compiled/onnx.cpp")
  add_library(lamina::compiled_io ALIAS lamina_compiled_io)
  target_link_libraries(lamina_compiled_io PUBLIC lamina::compiled lamina::io PRIVATE $<TARGET_NAME_IF_EXISTS:lamina_build>)
  target_compile_definitions(lamina_compiled_io PUBLIC LAMINA_COMPILED_IO)
  target_compile_options(lamina_compiled_io PRIVATE $<$<CONFIG:Release>:-O1>) # it reads and writes
endif()

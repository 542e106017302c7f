# How Lamina's own tests, benchmarks and examples are built: link lamina_build.
# None of this reaches a project that uses Lamina.
if(PROJECT_IS_TOP_LEVEL)
  get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  if(NOT multi_config AND NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  endif()
  find_program(LAMINA_CCACHE ccache DOC "Compiler cache, used if present")
  if(LAMINA_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    # With precompiled headers ccache works only if told that it may.
    set(CMAKE_CXX_COMPILER_LAUNCHER
        "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime;${LAMINA_CCACHE}")
  endif()
  # GCC looks for garbage in its memory whenever that has doubled, from 128 MB on: a seventh of the time of a unit.
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-heapsize=1048576>) # from a gigabyte on
endif()
set(CMAKE_CXX_EXTENSIONS OFF)

add_library(lamina_build INTERFACE)
target_compile_options(
  lamina_build
  INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
            $<$<BOOL:${LAMINA_WERROR}>:-Werror>
            $<$<BOOL:${LAMINA_NATIVE}>:-march=native>
            # False alarms of GCC 12: in its own AVX-512 headers, reached through Eigen (GCC bug 105593), and in
            # std::string's operator+ (105651).
            $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized;-Wno-restrict>)

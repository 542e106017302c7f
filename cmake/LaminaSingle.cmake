# The target lamina_single makes single/lamina/lamina.hpp in the build folder: all of lamina.hpp in one file, for who
# wants a copy of that in a project. It needs Eigen only. Run as a script, this file writes it.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(lamina_single_dir "${PROJECT_BINARY_DIR}/single")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/lamina/*")
  add_custom_command(
    OUTPUT "${lamina_single_dir}/lamina/lamina.hpp"
    COMMAND "${CMAKE_COMMAND}" -D "SOURCE_DIR=${PROJECT_SOURCE_DIR}" -D "VERSION=${PROJECT_VERSION}" -D
            "OUTPUT=${lamina_single_dir}/lamina/lamina.hpp" -P "${CMAKE_CURRENT_LIST_FILE}"
    DEPENDS "${CMAKE_CURRENT_LIST_FILE}" "${PROJECT_SOURCE_DIR}/LICENSE" ${headers}
    COMMENT "Writing all of lamina.hpp in one file")
  add_custom_target(lamina_single DEPENDS "${lamina_single_dir}/lamina/lamina.hpp")
  return()
endif()
cmake_policy(VERSION 3.22)

# inline_header(header): writes it, with the headers of Lamina that it includes in their places. What has #pragma once is
# written once.
function(inline_header header)
  file(READ "${SOURCE_DIR}/include/${header}" rest)
  string(FIND "${rest}" "#pragma once\n" once)
  if(once GREATER_EQUAL 0)
    get_property(written GLOBAL PROPERTY written)
    if(header IN_LIST written)
      return()
    endif()
    set_property(GLOBAL APPEND PROPERTY written "${header}")
    string(REPLACE "#pragma once\n" "" rest "${rest}")
  endif()
  string(PREPEND rest "\n// ${header}\n")

  set(include "\n#include \"")
  string(LENGTH "${include}" include_length)
  string(FIND "${rest}" "${include}" at)
  while(at GREATER_EQUAL 0)
    string(SUBSTRING "${rest}" 0 ${at} before)
    file(APPEND "${OUTPUT}" "${before}\n")
    math(EXPR at "${at} + ${include_length}")
    string(SUBSTRING "${rest}" ${at} -1 rest)
    string(FIND "${rest}" "\"" end)
    string(SUBSTRING "${rest}" 0 ${end} included)
    inline_header("${included}")
    string(FIND "${rest}" "\n" end)
    string(SUBSTRING "${rest}" ${end} -1 rest)
    string(FIND "${rest}" "${include}" at)
  endwhile()
  file(APPEND "${OUTPUT}" "${rest}")
endfunction()

file(READ "${SOURCE_DIR}/LICENSE" license)
string(STRIP "${license}" license)
string(REPLACE "\n" "\n// " license "${license}")
string(REPLACE "// \n" "//\n" license "${license}")
file(WRITE "${OUTPUT}" "// Lamina ${VERSION}: all of lamina/lamina.hpp in one file, made by its CMake target lamina_single. It needs Eigen 3.4.
//
// ${license}

#pragma once
#ifdef __GNUC__
#pragma GCC system_header  // the warning options of those who include it are not Lamina's
#endif
")
inline_header(lamina/lamina.hpp)

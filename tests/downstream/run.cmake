# Configures, builds and runs tests/downstream/PROJECT. With FAILS, configuring must fail and say that text.
cmake_policy(VERSION 3.22)
set(options "-DCMAKE_PREFIX_PATH=${PREFIX}" "-DLAMINA_SOURCE_DIR=${LAMINA_DIR}" "-DCMAKE_CXX_COMPILER=${COMPILER}"
            "-DCMAKE_CXX_FLAGS=${FLAGS}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}" ${OPTIONS})
if(HIDE_IO)
  list(APPEND options -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON -DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON
       -DLAMINA_STB_INCLUDE_DIR=LAMINA_STB_INCLUDE_DIR-NOTFOUND -DCMAKE_IGNORE_PATH=/usr/include/stb)
endif()

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(what STREQUAL "configuring" AND FAILS)
    string(FIND "${output}" "${FAILS}" at)
    if(result EQUAL 0 OR at LESS 0)
      message(FATAL_ERROR "${what} ${PROJECT} should fail and say '${FAILS}':\n${output}")
    endif()
  elseif(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} ${PROJECT} failed:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE "${BUILD_DIR}")
run(configuring "${CMAKE_COMMAND}" -S "${SOURCE_DIR}/${PROJECT}" -B "${BUILD_DIR}" -G "${GENERATOR}" ${options})
if(FAILS)
  return()
endif()
# Inside another project Lamina builds none of its own programs.
file(STRINGS "${BUILD_DIR}/CMakeCache.txt" own REGEX "^LAMINA_(TESTS|BENCH|EXAMPLES|NATIVE|WERROR):BOOL=ON")
if(own)
  message(FATAL_ERROR "${PROJECT} has ${own}")
endif()
run(building "${CMAKE_COMMAND}" --build "${BUILD_DIR}")
run(running "${BUILD_DIR}/app")

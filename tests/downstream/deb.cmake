# Makes Debian's packages of the build folder BUILD_DIR and unpacks lamina-dev in ROOT.
cmake_policy(VERSION 3.22)
file(REMOVE_RECURSE "${ROOT}")
execute_process(COMMAND "${CPACK}" -G DEB --config "${BUILD_DIR}/CPackConfig.cmake" -B "${ROOT}" OUTPUT_QUIET
                COMMAND_ERROR_IS_FATAL ANY)

# expect(package field text): the package's field, or with the field "contents" the list of its files, has the text.
function(expect package field text)
  set(command -f "${package}" "${field}")
  if(field STREQUAL "contents")
    set(command -c "${package}")
  endif()
  execute_process(COMMAND "${DPKG_DEB}" ${command} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
  string(FIND "${output}" "${text}" at)
  if(at LESS 0)
    message(FATAL_ERROR "${package}: the ${field} should have '${text}':\n${output}")
  endif()
endfunction()

set(headers "${ROOT}/lamina-dev_${VERSION}_all.deb")
expect("${headers}" Depends libeigen3-dev)
expect("${headers}" Recommends nlohmann-json3-dev)
expect("${headers}" contents ./usr/include/lamina/io.hpp)
expect("${headers}" contents ./usr/share/doc/lamina-dev/copyright)
execute_process(COMMAND "${DPKG_DEB}" -x "${headers}" "${ROOT}" COMMAND_ERROR_IS_FATAL ANY)

file(GLOB compiled "${ROOT}/lamina-compiled-dev_${VERSION}_*.deb")
if(COMPILED)
  expect("${compiled}" Depends "lamina-dev (= ${VERSION})")
  expect("${compiled}" contents /liblamina_compiled.a)
elseif(compiled)
  message(FATAL_ERROR "There should be no ${compiled}")
endif()

# The target `reference`: the API reference by Doxygen, where it is installed, in the build folder. It fails when a public
# symbol has no comment; the test docs/reference does the same.
find_package(Doxygen QUIET)
if(NOT TARGET Doxygen::doxygen)
  return()
endif()
set(LAMINA_REFERENCE_DIR "${PROJECT_BINARY_DIR}/reference")
configure_file("${PROJECT_SOURCE_DIR}/cmake/Doxyfile.in" "${PROJECT_BINARY_DIR}/Doxyfile" @ONLY)
add_custom_target(
  reference
  COMMAND Doxygen::doxygen "${PROJECT_BINARY_DIR}/Doxyfile"
  COMMAND "${CMAKE_COMMAND}" -E echo "The reference is ${LAMINA_REFERENCE_DIR}/index.html"
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  VERBATIM)
if(LAMINA_TESTS)
  add_test(NAME docs/reference COMMAND Doxygen::doxygen "${PROJECT_BINARY_DIR}/Doxyfile")
  set_tests_properties(docs/reference PROPERTIES TIMEOUT 120)
endif()

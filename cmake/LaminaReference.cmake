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
  # The same on a header with symbols that have no comment: each is named, and only those.
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/Doxyfile.planted" CONTENT "@INCLUDE = \"${PROJECT_BINARY_DIR}/Doxyfile\"
INPUT = \"${PROJECT_SOURCE_DIR}/tests/docs/undocumented.hpp\"
OUTPUT_DIRECTORY = \"${PROJECT_BINARY_DIR}/reference_planted\"
WARN_LOGFILE = \"${PROJECT_BINARY_DIR}/reference_planted.txt\"
")
  add_test(NAME docs/reference_catches
           COMMAND "${CMAKE_COMMAND}" -D "DOXYGEN=$<TARGET_FILE:Doxygen::doxygen>" -D "DIR=${PROJECT_BINARY_DIR}" -P
                   "${PROJECT_SOURCE_DIR}/tests/docs/reference_catches.cmake")
  set_tests_properties(docs/reference docs/reference_catches PROPERTIES TIMEOUT 300)
endif()

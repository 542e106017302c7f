# No macro of stb is seen by those who include Lamina's image files.
cmake_policy(VERSION 3.22)
execute_process(COMMAND "${COMPILER}" -std=c++20 -dM -E -x c++ "-I${INCLUDE_DIR}" "-I${STB_DIR}" -
                INPUT_FILE "${SOURCE}" OUTPUT_VARIABLE macros RESULT_VARIABLE result COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "#define (STB|stb|dct_|FAST_BITS)[^\n]*" leaked "${macros}")
if(leaked OR NOT macros MATCHES "#define CHAR_BIT ")
  list(JOIN leaked "\n  " text)
  message(FATAL_ERROR "stb's macros are seen outside:\n  ${text}")
endif()

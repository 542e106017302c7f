# Compiles and runs SOURCE with the options that pkg-config has for PACKAGE, which is installed in PREFIX.
cmake_policy(VERSION 3.22)
set(ENV{PKG_CONFIG_PATH} "${PREFIX}/share/pkgconfig")
execute_process(COMMAND "${PKG_CONFIG}" --modversion ${PACKAGE} OUTPUT_VARIABLE version
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${PKG_CONFIG}" --cflags --libs ${PACKAGE} OUTPUT_VARIABLE options COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(options UNIX_COMMAND "${FLAGS} ${options}")
execute_process(COMMAND ${LAUNCHER} "${COMPILER}" -std=c++20 "-DEXPECTED_VERSION=\"${version}\"" "${SOURCE}" -o
                        "${PROGRAM}" ${options} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${PROGRAM}" COMMAND_ERROR_IS_FATAL ANY)

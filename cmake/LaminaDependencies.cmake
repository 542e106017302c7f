# Finding what Lamina rests on, for this tree and, installed, for projects that use it.

# lamina_find(target package...): find_package(package...) unless the project has the target already. What is found is
# made global, since a project that adds Lamina as a subdirectory links it from outside.
function(lamina_find target)
  if(TARGET ${target})
    return()
  endif()
  find_package(${ARGN} QUIET)
  if(TARGET ${target})
    set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endfunction()

# Looks for the libraries of lamina::io. Sets the variable to "", or to a sentence that says what is missing.
function(lamina_find_io_libraries missing)
  lamina_find(nlohmann_json::nlohmann_json nlohmann_json 3.10)
  lamina_find(ZLIB::ZLIB ZLIB)
  find_path(LAMINA_STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb
            DOC "The directory of stb_image.h")
  set(absent)
  if(NOT TARGET nlohmann_json::nlohmann_json)
    list(APPEND absent "nlohmann-json (nlohmann-json3-dev)")
  endif()
  if(NOT TARGET ZLIB::ZLIB)
    list(APPEND absent "zlib (zlib1g-dev)")
  endif()
  if(NOT LAMINA_STB_INCLUDE_DIR)
    list(APPEND absent "stb (libstb-dev, or set LAMINA_STB_INCLUDE_DIR to the directory of stb_image.h)")
  endif()
  if(absent)
    list(JOIN absent ", " absent)
    set(absent "Not found: ${absent}; Debian's packages in brackets.")
  endif()
  set(${missing} "${absent}" PARENT_SCOPE)
endfunction()

# Makes an interface target lamina::io out of them.
function(lamina_link_io_libraries target)
  target_link_libraries(${target} INTERFACE lamina::lamina nlohmann_json::nlohmann_json ZLIB::ZLIB)
  target_include_directories(${target} SYSTEM INTERFACE "${LAMINA_STB_INCLUDE_DIR}")
endfunction()

# Looks for MPI 3, without its former C++ classes. Sets the variable to "", or to a sentence that says what is missing.
function(lamina_find_mpi missing)
  set(MPI_CXX_SKIP_MPICXX TRUE)
  lamina_find(MPI::MPI_CXX MPI 3 COMPONENTS CXX)
  set(absent)
  if(NOT TARGET MPI::MPI_CXX)
    set(absent "Not found: MPI 3 for C++, such as Open MPI (libopenmpi-dev openmpi-bin); Debian's packages in brackets.")
  endif()
  set(${missing} "${absent}" PARENT_SCOPE)
endfunction()

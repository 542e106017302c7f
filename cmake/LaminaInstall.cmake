# install(): the headers, a package for find_package, files for pkg-config, and with LAMINA_COMPILED the library.
include(CMakePackageConfigHelpers)

set(lamina_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/lamina")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/laminaConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/laminaConfig.cmake" INSTALL_DESTINATION "${lamina_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/laminaConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)

set(pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")
file(RELATIVE_PATH pkgconfig_to_prefix "${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir}" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" pkgconfig_to_prefix "${pkgconfig_to_prefix}")
set(lamina_compiled_flags "-DLAMINA_COMPILED")
if(LAMINA_DISPATCHED)
  string(APPEND lamina_compiled_flags " -DLAMINA_DISPATCHED")
elseif(LAMINA_NATIVE)
  string(APPEND lamina_compiled_flags " -march=native")
endif()
set(lamina_compiled_link_flags)
if(LAMINA_DROPS_SECTIONS)
  set(lamina_compiled_link_flags " -Wl,--gc-sections")
endif()
foreach(name lamina lamina-io lamina-compiled)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in" "${PROJECT_BINARY_DIR}/${name}.pc" @ONLY)
endforeach()

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/lamina" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        COMPONENT lamina_headers)
install(TARGETS lamina EXPORT laminaTargets)
install(EXPORT laminaTargets NAMESPACE lamina:: DESTINATION "${lamina_package_dir}" COMPONENT lamina_headers)
install(FILES "${PROJECT_BINARY_DIR}/laminaConfig.cmake" "${PROJECT_BINARY_DIR}/laminaConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/LaminaDependencies.cmake" DESTINATION "${lamina_package_dir}"
        COMPONENT lamina_headers)
install(FILES "${PROJECT_BINARY_DIR}/lamina.pc" "${PROJECT_BINARY_DIR}/lamina-io.pc" DESTINATION "${pkgconfig_dir}"
        COMPONENT lamina_headers)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT lamina_headers)

if(LAMINA_COMPILED)
  set_target_properties(lamina_compiled PROPERTIES EXPORT_NAME compiled)
  install(TARGETS lamina_compiled EXPORT laminaCompiledTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
          COMPONENT lamina_compiled)
  install(EXPORT laminaCompiledTargets NAMESPACE lamina:: DESTINATION "${lamina_package_dir}"
          COMPONENT lamina_compiled)
  install(FILES "${PROJECT_BINARY_DIR}/lamina-compiled.pc" DESTINATION "${pkgconfig_dir}" COMPONENT lamina_compiled)
endif()

if(PROJECT_IS_TOP_LEVEL)
  include(LaminaPackages)
endif()

# What `cmake --install` puts where, in the components `program` and `development`; packages of them
# by `cpack`.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# ---- programs, with what shells and `man` want of them
install(TARGETS kflow_cli kflowc RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT program)
set(made "${CMAKE_CURRENT_BINARY_DIR}/shell")
file(MAKE_DIRECTORY "${made}")
set(files)
foreach(program kflow_cli kflowc)
  string(REPLACE "_cli" "" name ${program})
  foreach(kind man bash zsh fish)
    if(kind STREQUAL man)
      set(arguments man)
    else()
      set(arguments completion ${kind})
    endif()
    set(out "${made}/${name}.${kind}")
    add_custom_command(OUTPUT "${out}" DEPENDS ${program} VERBATIM
      COMMAND "${CMAKE_COMMAND}" -E env "KFLOW_STORE=${made}/none" $<TARGET_FILE:${program}> ${arguments} > "${out}")
    list(APPEND files "${out}")
  endforeach()
  install(FILES "${made}/${name}.man" RENAME ${name}.1
    DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" COMPONENT program)
  install(FILES "${made}/${name}.bash" RENAME ${name}
    DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" COMPONENT program)
  install(FILES "${made}/${name}.zsh" RENAME _${name}
    DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions" COMPONENT program)
  install(FILES "${made}/${name}.fish" RENAME ${name}.fish
    DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d" COMPONENT program)
endforeach()
add_custom_target(kflow_shell_files ALL DEPENDS ${files})
install(FILES "${CMAKE_CURRENT_LIST_DIR}/kflow.service" DESTINATION lib/systemd/system COMPONENT program)
install(FILES "${CMAKE_CURRENT_LIST_DIR}/service.yaml" DESTINATION "${CMAKE_INSTALL_DATADIR}/kflow" COMPONENT program)
install(FILES LICENSE README.md DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT program)

# ---- the library
set(libraries base cel ir conversation models mcp machine store activities config engine runtime
  source diagnostics syntax cel_front sema lower stdlib driver kflow)
set(targets)
foreach(name IN LISTS libraries)
  list(APPEND targets kflow_${name})
  set_target_properties(kflow_${name} PROPERTIES EXPORT_NAME ${name})
endforeach()
install(TARGETS ${targets} EXPORT kflowTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT development)
set_target_properties(kflow_c PROPERTIES EXPORT_NAME c)
install(TARGETS kflow_c EXPORT kflowTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT program NAMELINK_COMPONENT development
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
set(package "${CMAKE_INSTALL_LIBDIR}/cmake/kflow")
install(EXPORT kflowTargets NAMESPACE kflow:: DESTINATION "${package}" COMPONENT development)
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/kflowConfig.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/kflowConfig.cmake" INSTALL_DESTINATION "${package}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/kflowConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/kflowConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/kflowConfigVersion.cmake" DESTINATION "${package}"
  COMPONENT development)
file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" up "${up}")
configure_file("${CMAKE_CURRENT_LIST_DIR}/kflow.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/kflow.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/kflow.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT development)

# ---- packages: `cpack -G DEB` in the build folder
set(CPACK_PACKAGE_NAME kflow)
set(CPACK_PACKAGE_VENDOR "kflow")
set(CPACK_PACKAGE_CONTACT "kflow maintainers <kflow@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE")
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_GENERATOR DEB)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME kflow)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "ca-certificates, libpq5")
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "Compiler, runtime and server of durable workflows")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_CONTROL_EXTRA "${CMAKE_CURRENT_LIST_DIR}/postinst"
  "${CMAKE_CURRENT_LIST_DIR}/prerm" "${CMAKE_CURRENT_LIST_DIR}/postrm")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libkflow-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "kflow (= ${kflow_VERSION}), pkg-config, libcurl4-openssl-dev, libfmt-dev, libhowardhinnant-date-dev, liblmdb-dev, libre2-dev, libsqlite3-dev, libssl-dev, libxxhash-dev, libyaml-cpp-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Headers and libraries to run kflow's workflows inside another program")
include(CPack)

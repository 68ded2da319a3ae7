# atelier_module(NAME [OBJECT] [TORCH] [ALONE] DEPS module... LIBS external...)
#   Makes the library NAME of every .cc in the calling folder (not below it).
#   DEPS are our modules whose headers this one's headers use; LIBS are outside libraries.
#   OBJECT: for folders whose files register themselves (nodes, samplers, schedules, families); link it directly into
#   executables, since a STATIC library drops objects that nobody names.
#   TORCH: compiled against libtorch with the shared precompiled header; such a module never links proto, rpc or spdlog.
#   ALONE: each source is compiled by itself (see ATELIER_UNITY below).
# atelier_executable(NAME SOURCES file... DEPS module... REGISTERS object_module...)
# atelier_test(NAME [TORCH] [LABELS label...] DEPS module... REGISTERS object_module... LIBS external... [RUNNER command...])
#   One Catch2 binary of every *_test.cc in the calling folder, run by RUNNER where there is one.
#
# The sources of a module or test are compiled several at once (ATELIER_UNITY), since what they include costs more than what
# they are. A hash of a file's name decides which go together, so a new file touches one group only. What stands in a
# file's unnamed namespace is seen by its group: a name that another file has too is a redefinition there. So names of a
# module differ, or each file has a namespace of its own, or the module is ALONE.
function(atelier_common_target NAME)
  target_include_directories(${NAME} PUBLIC ${CMAKE_SOURCE_DIR})
endfunction()

function(atelier_unity NAME SIZE)
  if(NOT ATELIER_UNITY)
    return()
  endif()
  list(LENGTH ARGN count)
  math(EXPR groups "(${count} + ${SIZE} - 1) / ${SIZE}")
  foreach(source ${ARGN})
    get_filename_component(file ${source} NAME)
    string(MD5 hash ${file})
    string(SUBSTRING ${hash} 0 6 hash)
    math(EXPR group "0x${hash} % ${groups}")
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${group})
  endforeach()
  set_target_properties(${NAME} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()

function(atelier_module NAME)
  cmake_parse_arguments(A "OBJECT;TORCH;ALONE" "" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(NOT sources)
    add_library(${NAME} INTERFACE)
    target_include_directories(${NAME} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${NAME} INTERFACE ${A_DEPS} ${A_LIBS})
    return()
  endif()
  if(A_OBJECT)
    add_library(${NAME} OBJECT ${sources})
  else()
    add_library(${NAME} STATIC ${sources})
  endif()
  if(NOT A_ALONE)
    atelier_unity(${NAME} 8 ${sources})
  endif()
  atelier_common_target(${NAME})
  target_link_libraries(${NAME} PUBLIC ${A_DEPS} ${A_LIBS} PRIVATE atelier_warnings)
  if(A_TORCH)
    target_link_libraries(${NAME} PUBLIC torch_headers)
    if(TARGET torch_pch AND NOT NAME STREQUAL "torch_pch")
      target_precompile_headers(${NAME} REUSE_FROM torch_pch)
    endif()
  endif()
endfunction()

function(atelier_executable NAME)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS;REGISTERS;LIBS" ${ARGN})
  add_executable(${NAME} ${A_SOURCES})
  atelier_common_target(${NAME})
  foreach(m ${A_REGISTERS})
    target_link_libraries(${NAME} PRIVATE ${m})  # an OBJECT library linked directly brings all its objects
  endforeach()
  target_link_libraries(${NAME} PRIVATE ${A_DEPS} ${A_LIBS} atelier_warnings)
endfunction()

# What makes an executable's own sources ones of libtorch.
function(atelier_torch_executable NAME)
  target_link_libraries(${NAME} PRIVATE torch_headers)
  target_precompile_headers(${NAME} REUSE_FROM torch_pch)
  # The precompiled header is made with -fPIC; CMake would give an executable -fPIE, which the compiler refuses to mix.
  set_target_properties(${NAME} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${NAME} PRIVATE -fPIC)
endfunction()

function(atelier_test NAME)
  cmake_parse_arguments(A "TORCH" "TIMEOUT" "LABELS;DEPS;REGISTERS;LIBS;RUNNER" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${NAME} ${sources})
  atelier_common_target(${NAME})
  atelier_unity(${NAME} 4 ${sources})
  foreach(m ${A_REGISTERS})
    target_link_libraries(${NAME} PRIVATE ${m})  # an OBJECT library linked directly brings all its objects
  endforeach()
  target_link_libraries(${NAME} PRIVATE test_main ${A_DEPS} ${A_LIBS} atelier_warnings)
  target_compile_definitions(${NAME} PRIVATE ATELIER_SOURCE_DIR="${CMAKE_SOURCE_DIR}" ATELIER_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(A_TORCH)
    atelier_torch_executable(${NAME})
  endif()
  if(NOT "bench" IN_LIST A_LABELS)
    target_compile_options(${NAME} PRIVATE $<$<CONFIG:Release>:-O1>)  # the code under test has its own
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 600)
  endif()
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  add_test(NAME ${NAME} COMMAND ${A_RUNNER} $<TARGET_FILE:${NAME}>)
  set_tests_properties(${NAME} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT} SKIP_RETURN_CODE 77)
endfunction()

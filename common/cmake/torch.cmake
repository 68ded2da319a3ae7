# libtorch from the unpacked PyPI wheel (deploy/deps). Targets:
#   torch_headers  include paths and libraries; only TORCH modules link it (the torch wall, docs/architecture.md)
#   torch_pch      the one precompiled <ATen/ATen.h>
if(NOT ATELIER_TORCH_ROOT)
  if(DEFINED ENV{XDG_CACHE_HOME})
    set(ATELIER_TORCH_ROOT $ENV{XDG_CACHE_HOME}/atelier/torch-2.11.0)
  else()
    set(ATELIER_TORCH_ROOT $ENV{HOME}/.cache/atelier/torch-2.11.0)
  endif()
endif()
if(NOT EXISTS ${ATELIER_TORCH_ROOT}/torch/include/ATen/ATen.h)
  message(FATAL_ERROR "libtorch is not at ${ATELIER_TORCH_ROOT}: run deploy/deps, which fetches it, or set ATELIER_TORCH_ROOT")
endif()
set(TORCH_LIB ${ATELIER_TORCH_ROOT}/torch/lib)
set(TORCH_NVIDIA ${ATELIER_TORCH_ROOT}/nvidia/cu13/lib)

add_library(torch_headers INTERFACE)
target_include_directories(torch_headers SYSTEM INTERFACE ${ATELIER_TORCH_ROOT}/torch/include)
target_link_directories(torch_headers INTERFACE ${TORCH_LIB})
target_link_libraries(torch_headers INTERFACE ${TORCH_LIB}/libtorch_cpu.so ${TORCH_LIB}/libc10.so)
# libtorch_cpu needs cudart and cupti, which lie in wheels of their own beside it; the linker need not see them.
target_link_options(torch_headers INTERFACE -Wl,--allow-shlib-undefined -Wl,-rpath-link,${TORCH_LIB}
  -Wl,-rpath,${TORCH_LIB}:${TORCH_NVIDIA} -Wl,--disable-new-dtags)

if(ATELIER_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # False ones of at::Tensor's pointer, where much of libtorch's inline code meets in one translation unit.
  target_compile_options(torch_headers INTERFACE -Wno-maybe-uninitialized)
endif()

file(WRITE ${CMAKE_BINARY_DIR}/torch_pch/empty.cc "")
add_library(torch_pch STATIC ${CMAKE_BINARY_DIR}/torch_pch/empty.cc)
target_include_directories(torch_pch PUBLIC ${CMAKE_SOURCE_DIR})
target_link_libraries(torch_pch PUBLIC torch_headers PRIVATE atelier_warnings)
target_precompile_headers(torch_pch PRIVATE <ATen/ATen.h> <c10/core/InferenceMode.h>
  <nlohmann/json.hpp> <string> <vector> <map> <memory> <functional> <optional>)

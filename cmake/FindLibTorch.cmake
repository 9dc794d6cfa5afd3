# PyTorch's C++ library, from the Python package or a LibTorch archive, without find_package(Torch): that one fails
# where torch was built with CUDA and no CUDA toolkit is installed, which is the common case.
#
# Looks at TORCH_DIR (the torch package or LibTorch directory), what find_package(Torch) found, Torch_DIR,
# CMAKE_PREFIX_PATH (torch.utils.cmake_prefix_path too) and LibTorch_DEFAULT_ROOT. Sets LibTorch_ROOT, LibTorch_VERSION,
# LibTorch_CUDA_MAJOR ("" without CUDA), LibTorch_TAG (torch2_15_cu13, torch2_15_cpu); makes LibTorch::LibTorch.
# With LibTorch_WITHOUT_CUDA it is taken for the same version's CPU-only torch, whose C++ API is the same.
set(_hints ${TORCH_DIR} ${TORCH_INSTALL_PREFIX})
if(Torch_DIR)
  list(APPEND _hints ${Torch_DIR}/../../..)
endif()
foreach(_prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND _hints ${_prefix} ${_prefix}/../..)
endforeach()
list(APPEND _hints ${LibTorch_DEFAULT_ROOT})
# Nothing is cached: the next build of this directory may be for the torch of another environment.
find_path(LibTorch_INCLUDE_DIR torch/csrc/api/include/torch/version.h HINTS ${_hints} PATH_SUFFIXES include
  NO_DEFAULT_PATH NO_CACHE)
get_filename_component(LibTorch_ROOT ${LibTorch_INCLUDE_DIR}/.. ABSOLUTE)
foreach(_name torch torch_cpu c10 c10_cuda)
  find_library(LibTorch_${_name} ${_name} HINTS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH NO_CACHE)
endforeach()

set(LibTorch_CUDA_MAJOR "")
if(LibTorch_INCLUDE_DIR)
  set(_header ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h)
  if(NOT EXISTS ${_header}) # until 2.8
    set(_header ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include/torch/version.h)
  endif()
  foreach(_part MAJOR MINOR PATCH)
    file(STRINGS ${_header} _line REGEX "define TORCH_VERSION_${_part} ")
    string(REGEX MATCH "[0-9]+$" _${_part} "${_line}")
  endforeach()
  set(LibTorch_VERSION ${_MAJOR}.${_MINOR}.${_PATCH})
endif()
if(LibTorch_c10_cuda AND NOT LibTorch_WITHOUT_CUDA) # the file itself says which CUDA runtime it needs
  file(STRINGS ${LibTorch_c10_cuda} _line REGEX "^libcudart.*\\.so\\.[0-9]+" LIMIT_COUNT 1)
  string(REGEX MATCH "[0-9]+$" LibTorch_CUDA_MAJOR "${_line}")
endif()
set(LibTorch_TAG torch${_MAJOR}_${_MINOR}_cpu)
if(LibTorch_CUDA_MAJOR)
  set(LibTorch_TAG torch${_MAJOR}_${_MINOR}_cu${LibTorch_CUDA_MAJOR})
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch VERSION_VAR LibTorch_VERSION
  REQUIRED_VARS LibTorch_torch LibTorch_torch_cpu LibTorch_c10 LibTorch_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "Give -DTORCH_DIR=<the torch package or LibTorch directory>.")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_compile_features(LibTorch::LibTorch INTERFACE cxx_std_20)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    ${LibTorch_INCLUDE_DIR} ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include)
  target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_torch} ${LibTorch_torch_cpu} ${LibTorch_c10})
  # at::parallel_for is an inline template: without -fopenmp it silently runs on one thread. And it must run on torch's
  # own OpenMP library: another one has a second pool of threads, which torch.set_num_threads does not reach.
  file(STRINGS ${LibTorch_INCLUDE_DIR}/ATen/Config.h _openmp REGEX "AT_PARALLEL_OPENMP 1")
  file(GLOB _gomp ${LibTorch_ROOT}/lib/libgomp*.so*)
  file(GLOB _renamed_gomp ${LibTorch_ROOT}/../torch.libs/libgomp-*.so*) # by auditwheel, otherwise in each build
  set(LibTorch_SERIAL FALSE)
  if(_openmp AND (_gomp OR _renamed_gomp) AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
    set(LibTorch_SERIAL TRUE) # Clang's code needs LLVM's library, whose functions GNU's would take over by name
  elseif(_openmp AND _gomp)
    target_compile_options(LibTorch::LibTorch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
    target_link_libraries(LibTorch::LibTorch INTERFACE ${_gomp})
  elseif(_openmp AND _renamed_gomp) # libtorch_cpu.so brings it, under whatever name
    target_compile_options(LibTorch::LibTorch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
    target_link_options(LibTorch::LibTorch INTERFACE LINKER:--warn-unresolved-symbols)
  elseif(_openmp)
    find_package(OpenMP REQUIRED COMPONENTS CXX)
    target_link_libraries(LibTorch::LibTorch INTERFACE OpenMP::OpenMP_CXX)
  endif()
endif()

# Adds the CUDA kernels to the target derf, where that is wanted and possible. Sets DERF_CUDA_KERNELS, ON or OFF, and
# DERF_CUDA_INFO, what is there or why not; DERF_CUDA_HEADERS, where the toolkit's are; DERF_CUDART, torch's runtime.
set(DERF_CUDA_KERNELS OFF)
if(DERF_CUDA STREQUAL "OFF")
  set(Nvcc_WHY "DERF_CUDA turned them off")
else()
  find_package(Nvcc MODULE QUIET)
  set(DERF_CUDA_KERNELS ${Nvcc_FOUND})
endif()
if(DERF_CUDA STREQUAL "ON" AND NOT DERF_CUDA_KERNELS)
  message(FATAL_ERROR "derf: CUDA kernels were asked for (DERF_CUDA), but ${Nvcc_WHY}.")
endif()
if(NOT DERF_CUDA_KERNELS)
  set(DERF_CUDA_INFO "no (${Nvcc_WHY})")
  return()
endif()

include(cmake/architectures.cmake)
set(CMAKE_CUDA_COMPILER ${Nvcc_EXECUTABLE})
# All before the target is made, which takes its settings then. The runtime is torch's own.
set(CMAKE_CUDA_RUNTIME_LIBRARY None)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_STANDARD 17) # all that CMake 3.25 knows nvcc to have
add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
if(Nvcc_VERSION VERSION_GREATER_EQUAL 13) # an eighth of the size; drivers of CUDA 13 read it
  add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>)
endif()
if(CCACHE AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
if(CMAKE_CROSSCOMPILING) # nvcc looks for headers in a folder of the target's, which few toolkits have: they are the same
  set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
  cmake_path(GET Nvcc_EXECUTABLE PARENT_PATH _bin)
  set(_headers ${_bin}/../include ${_bin}/../include/cccl)
  list(TRANSFORM _headers PREPEND " -I" OUTPUT_VARIABLE _include)
  string(APPEND CMAKE_CUDA_FLAGS ${_include})
endif()
find_library(DERF_CUDART NAMES libcudart.so.${LibTorch_CUDA_MAJOR} NO_CACHE NO_DEFAULT_PATH HINTS
  ${LibTorch_ROOT}/../nvidia/cu${LibTorch_CUDA_MAJOR}/lib ${LibTorch_ROOT}/../nvidia/cuda_runtime/lib ${LibTorch_ROOT}/lib)
# CMake's checks of the compiler link programs to libraries that toolkits from PyPI, or for other processors, lack.
set(_stand_ins ${CMAKE_BINARY_DIR}/CMakeFiles/cudart)
if(DERF_CUDART)
  file(WRITE ${_stand_ins}/libcudadevrt.a "!<arch>\n")
  file(WRITE ${_stand_ins}/libcudart_static.a "INPUT(${DERF_CUDART})\n")
endif()
set(_flags "$ENV{NVCC_APPEND_FLAGS}")
set(ENV{NVCC_APPEND_FLAGS} "${_flags} -L${_stand_ins}")
set(CMAKE_CUDA_COMPILER_WORKS TRUE)
enable_language(CUDA)
set(ENV{NVCC_APPEND_FLAGS} "${_flags}")
set(DERF_CUDA_HEADERS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${_headers})
find_library(DERF_CUDART NAMES libcudart.so.${LibTorch_CUDA_MAJOR} libcudart.so NO_CACHE REQUIRED HINTS
  ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES})
set(DERF_CUDA_INFO "yes (nvcc ${Nvcc_VERSION}: ${DERF_CUDA_ARCHITECTURES})")

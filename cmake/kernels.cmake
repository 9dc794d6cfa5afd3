# The kernels, which call nothing of torch's. Sets derf_kernels to what the library is linked with: their objects or, if
# DERF_KERNELS names them, libraries of their own. The targets derf_kernels_cpu and derf_kernels_cu<major> make these: one
# of each serves the libraries for all torches (tools/wheels).
set(DERF_KERNELS "" CACHE STRING "Libraries of the kernels, linked instead of compiling them")

set(isas default)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT DERF_DEFAULT_KERNELS_ALONE) # tests/fuzz builds these alone
  list(APPEND isas avx2 avx512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  set(isas neon)
endif()
list(TRANSFORM isas TOUPPER OUTPUT_VARIABLE have)
list(TRANSFORM have PREPEND DERF_HAVE_)
set_property(SOURCE csrc/cpu/capability.cpp PROPERTY COMPILE_DEFINITIONS ${have})
set(derf_kernels ${DERF_KERNELS})
if(DERF_KERNELS)
  return()
endif()

set(flags_default)
set(flags_neon $<$<CXX_COMPILER_ID:GNU>:-Wno-psabi> # GCC copies packs by way of memory else
  $<$<CXX_COMPILER_ID:GNU>:--param=sra-max-scalarization-size-Ospeed=4096>)
set(flags_avx2 -mavx2 -mfma -mf16c)
set(flags_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c -Wno-maybe-uninitialized -Wno-uninitialized) # in GCC's own header
foreach(isa IN LISTS isas)
  string(TOUPPER ${isa} ISA)
  # What is to be fused says so. Left to the compiler, a result would depend on which others are asked for.
  set_source_files_properties(csrc/cpu/kernels_${isa}.cpp PROPERTIES
    COMPILE_OPTIONS "-ffp-contract=off;${flags_${isa}}" COMPILE_DEFINITIONS "CPU_CAPABILITY=${ISA};CPU_CAPABILITY_${ISA}")
endforeach()

# Adds `sources` as objects to derf_kernels, and as the target derf_kernels_<name>.
macro(derf_add_kernels name sources)
  add_library(kernels_${name} OBJECT ${sources})
  target_compile_features(kernels_${name} PRIVATE cxx_std_20)
  target_compile_options(kernels_${name} PRIVATE ${derf_options})
  target_include_directories(kernels_${name} SYSTEM PRIVATE
    $<TARGET_PROPERTY:LibTorch::LibTorch,INTERFACE_INCLUDE_DIRECTORIES>)
  list(APPEND derf_kernels $<TARGET_OBJECTS:kernels_${name}>)
  add_library(derf_kernels_${name} SHARED EXCLUDE_FROM_ALL $<TARGET_OBJECTS:kernels_${name}>)
  derf_export(derf_kernels_${name} kernels.map)
  set_target_properties(derf_kernels_${name} PROPERTIES LINKER_LANGUAGE CXX SUFFIX .so)
endmacro()
# Of an inline function that two objects hold the linker keeps the first, and that must be one which every processor can
# run: so the kernels of an instruction set come last, as in PyTorch. The first ones run anywhere, and take longest.
list(TRANSFORM isas REPLACE "(.+)" "csrc/cpu/kernels_\\1.cpp" OUTPUT_VARIABLE sources_cpu)
derf_add_kernels(cpu "${sources_cpu}")
if(DERF_CUDA_KERNELS)
  derf_add_kernels(cu${LibTorch_CUDA_MAJOR} csrc/cuda/kernels.cu)
  target_link_libraries(derf_kernels_cu${LibTorch_CUDA_MAJOR} PRIVATE ${DERF_CUDART})
endif()

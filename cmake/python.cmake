# For setup.py: the library and derf._C side by side in the package, torch and NVIDIA's packages beside it.
set(rpath "$ORIGIN/../torch/lib")
if(LibTorch_CUDA_MAJOR GREATER_EQUAL 13)
  list(APPEND rpath "$ORIGIN/../nvidia/cu${LibTorch_CUDA_MAJOR}/lib")
elseif(LibTorch_CUDA_MAJOR)
  list(APPEND rpath "$ORIGIN/../nvidia/cuda_runtime/lib")
endif()
# Linked as installed: a path that is replaced on installation leaves its length in the file.
set_target_properties(derf PROPERTIES INSTALL_RPATH "${rpath}" BUILD_WITH_INSTALL_RPATH ON)
install(TARGETS derf LIBRARY DESTINATION .)

find_package(Python COMPONENTS Interpreter Development.Module)
if(Python_Development.Module_FOUND)
  # The file is named for its torch as the library is; inside it is derf._C.
  python_add_library(_C MODULE WITH_SOABI csrc/python/module.cpp)
  set_target_properties(_C PROPERTIES OUTPUT_NAME _C_${LibTorch_TAG} INSTALL_RPATH "$ORIGIN" BUILD_WITH_INSTALL_RPATH ON)
  target_compile_definitions(_C PRIVATE DERF_MODULE=_C)
  target_compile_options(_C PRIVATE -Wall -Wextra $<$<CONFIG:Release>:-g0>)
  target_link_libraries(_C PRIVATE derf LibTorch::LibTorch) # torch's headers hold pybind11's
  install(TARGETS _C LIBRARY DESTINATION .)
else()
  message(STATUS "derf: no Python headers, so no derf._C (a tool for tests; all else works)")
endif()

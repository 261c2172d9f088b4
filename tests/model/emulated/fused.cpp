// The operations over the kernels: bf16 tensors on the CPU stand for those on a GPU.
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#define is_cuda is_cpu
#include "model/operations/fused.cpp"
#include "model/operations/fused_attention.cpp"

#include "model/kernels/attention_backward.cu"

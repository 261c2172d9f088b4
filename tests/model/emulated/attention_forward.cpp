#include "model/kernels/attention_forward.cu"

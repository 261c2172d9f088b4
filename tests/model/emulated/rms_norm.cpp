#include "model/kernels/rms_norm.cu"

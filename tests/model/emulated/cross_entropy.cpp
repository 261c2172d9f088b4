#include "model/kernels/cross_entropy.cu"

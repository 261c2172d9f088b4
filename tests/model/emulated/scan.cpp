#include "model/kernels/scan.cu"

#include "model/kernels/swiglu.cu"

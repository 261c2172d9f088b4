#include "model/kernels/channels.cu"

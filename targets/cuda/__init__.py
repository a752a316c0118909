"""GPUs of NVIDIA: kernels become machine code through CUDA source, products also through Triton and cuBLASLt."""

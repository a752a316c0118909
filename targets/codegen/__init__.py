"""What all emitters of kernels share: the kernel builder, how operands are read, scalar and vector functions."""

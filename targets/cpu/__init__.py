"""The CPU: products read weights in panels, kernels become machine code through LLVM."""

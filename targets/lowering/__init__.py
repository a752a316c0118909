"""From an optimised graph to a module of TVM's: one form of products, kernels chosen, stages and memory planned, Relax."""

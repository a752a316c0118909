"""The workloads' computations beside BERT: each as tgraph's graph, and as the other runtimes take it."""

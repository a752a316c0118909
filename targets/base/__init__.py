"""What every target is made of: targets and their backends, TVM's names, memory, the linker."""

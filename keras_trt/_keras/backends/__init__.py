"""What a backend does its own way: the operators that numbers are written in, and Keras 3 on any but one."""

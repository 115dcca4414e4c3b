"""Words that every room shares: arguments, formats, names, structures, tensors, messages."""

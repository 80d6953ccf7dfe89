"""The commands, a module each. They parse, call, and show; what they call lives in the other packages."""

"""What Crucible adds to SGLang: a distribution of its own, which `sglang_env` installs beside SGLang, never beside Crucible."""

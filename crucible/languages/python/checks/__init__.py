"""The static checks of Python programs, one concern a module. `crucible.security.validator` puts them together."""

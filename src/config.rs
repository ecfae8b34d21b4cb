//! Flags, environment and file, made into one checked configuration.

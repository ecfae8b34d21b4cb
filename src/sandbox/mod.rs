//! The emulated provider.

//! Behaviour over real HTTP.

//! Submissions in the provider's format, in every encoding.
#![no_main]

pingbox_fuzz::target!(in_php);

//! Replies of the provider.
#![no_main]

pingbox_fuzz::target!(reply);

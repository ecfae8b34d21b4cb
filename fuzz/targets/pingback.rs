//! Pingbacks, in every encoding.
#![no_main]

pingbox_fuzz::target!(pingback);

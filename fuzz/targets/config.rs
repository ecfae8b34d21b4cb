//! Variables and the file.
#![no_main]

pingbox_fuzz::target!(config);

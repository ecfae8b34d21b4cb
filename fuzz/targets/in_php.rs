#![no_main]

pingbox_fuzz::target!(in_php);

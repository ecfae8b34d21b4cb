#![no_main]

pingbox_fuzz::target!(answer);

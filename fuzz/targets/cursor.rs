//! Cursors, ids and prices.
#![no_main]

pingbox_fuzz::target!(cursor);

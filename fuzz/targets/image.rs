//! Images, as files and as base64.
#![no_main]

pingbox_fuzz::target!(image);

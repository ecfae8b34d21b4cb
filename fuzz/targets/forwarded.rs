//! Who is calling, by the headers of proxies.
#![no_main]

pingbox_fuzz::target!(forwarded);

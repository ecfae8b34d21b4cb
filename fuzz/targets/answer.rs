//! Answers by the type of captcha.
#![no_main]

pingbox_fuzz::target!(answer);

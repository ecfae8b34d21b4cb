//! Every error code that is known by name: one table, which the code and `docs/errors.md` share.

use std::time::Duration;

use super::error_code::Remedy::{self, FailTask, NotReady, Operator, Request, Suspend, Wait};
use super::error_code::Source::{self, Both, Family, InPhp, Limits, Pingbox, ResPhp};

/// What is known of one code.
pub(super) struct Entry {
    pub(super) code: &'static str,
    pub(super) remedy: Remedy,
    /// Whether the same task may succeed when it is submitted again as it is.
    pub(super) retryable: bool,
    pub(super) source: Source,
    /// What it means, for people.
    pub(super) message: &'static str,
}

const fn entry(code: &'static str, remedy: Remedy, source: Source, message: &'static str) -> Entry {
    let retryable = matches!(remedy, Wait(_) | Suspend(_));
    Entry { code, remedy, retryable, source, message }
}

/// Fails the task; it may well succeed when it is submitted again as it is.
const fn retryable(code: &'static str, source: Source, message: &'static str) -> Entry {
    Entry { retryable: true, ..entry(code, FailTask, source, message) }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The account's codes by remedy, then those of requests, then those of tasks.
#[rustfmt::skip]
pub(super) const TABLE: &[Entry] = &[
    entry("ERROR_WRONG_USER_KEY", Operator, Both, "the API key does not have 32 symbols"),
    entry("ERROR_KEY_DOES_NOT_EXIST", Operator, Both, "the API key does not exist"),
    entry("ERROR_IP_NOT_ALLOWED", Operator, InPhp, "this address is not on the account's list of allowed addresses"),
    entry("IP_BANNED", Operator, InPhp, "this address is banned for using wrong keys: the provider's support lifts it"),
    entry("ERROR_ZERO_BALANCE", Wait(secs(60)), InPhp, "the account has no money left"),
    entry("ERROR_NO_SLOT_AVAILABLE", Wait(secs(5)), InPhp, "the provider's queue is full, or the account's highest rate is too low"),
    entry("MAX_USER_TURN", Suspend(secs(10)), InPhp, "more than 60 submissions within 3 seconds"),
    entry("ERROR: 1001", Suspend(secs(600)), Limits, "suspended for asking on while the bid was too low"),
    entry("ERROR: 1002", Suspend(secs(300)), Limits, "suspended for asking on without a balance"),
    entry("ERROR: 1003", Suspend(secs(30)), Limits, "suspended for uploading faster than the queue drains"),
    entry("ERROR: 1004", Suspend(secs(600)), Limits, "this address is blocked for using a wrong key"),
    entry("ERROR: 1005", Suspend(secs(300)), Limits, "suspended for asking for answers too often"),
    entry("CAPCHA_NOT_READY", NotReady, ResPhp, "the captcha is not solved yet"),
    entry("REPORT_NOT_RECORDED", Request, ResPhp, "the report was not recorded: it came too late, or the account complains too often"),
    entry("ERROR_DUPLICATE_REPORT", Request, Family, "the captcha was reported before"),
    entry("ERROR_WRONG_ID_FORMAT", Request, ResPhp, "the captcha ID is not a number"),
    entry("ERROR_WRONG_CAPTCHA_ID", Request, ResPhp, "the provider does not know the captcha ID, or has forgotten it"),
    entry("ERROR_EMPTY_ACTION", Request, Family, "the action is missing, or not known there"),
    entry("ERROR_IP_ADDRES", Request, Family, "a pingback URL is registered only from the address it points to"),
    retryable("ERROR_CAPTCHA_UNSOLVABLE", ResPhp, "the workers could not solve it; it was not charged"),
    retryable("ERROR_BAD_DUPLICATES", ResPhp, "too few workers gave the same answer"),
    retryable("ERROR_PROXY_CONNECTION_FAILED", Family, "the provider could not connect through the proxy"),
    retryable("ERROR_UPLOAD", Family, "the upload did not arrive whole"),
    entry("ERROR_PAGEURL", FailTask, InPhp, "pageurl is missing"),
    entry("ERROR_ZERO_CAPTCHA_FILESIZE", FailTask, InPhp, "the image has less than 100 bytes"),
    entry("ERROR_TOO_BIG_CAPTCHA_FILESIZE", FailTask, InPhp, "the image has more than 100 kB"),
    entry("ERROR_WRONG_FILE_EXTENSION", FailTask, InPhp, "the image is not jpg, jpeg, gif or png"),
    entry("ERROR_IMAGE_TYPE_NOT_SUPPORTED", FailTask, InPhp, "the image's type was not recognised"),
    entry("ERROR_CAPTCHAIMAGE_BLOCKED", FailTask, InPhp, "the provider knows this image as unrecognisable"),
    entry("ERROR_GOOGLEKEY", FailTask, Family, "googlekey is missing or malformed"),
    entry("ERROR_BAD_TOKEN_OR_PAGEURL", FailTask, Family, "googlekey and pageurl do not belong together"),
    entry("ERROR_PROXY_FORMAT", FailTask, Family, "the proxy is malformed"),
    entry("ERROR_BAD_PROXY", FailTask, Family, "the proxy is marked as bad"),
    entry("ERROR_TOKEN_EXPIRED", FailTask, Family, "the captcha's own token has expired"),
    entry("ERROR_BAD_PARAMETERS", FailTask, Family, "a parameter is missing or malformed"),
    retryable("EXPIRED", Pingbox, "no answer came in the time that the task had"),
    retryable("UNCONFIRMED", Pingbox, "the task was sent, but no reply came: it may have been charged"),
];

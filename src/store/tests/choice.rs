//! Operations chosen at random.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::operation::{Change, Look, New, Operation, Received, Step, Tried};
use super::sequence::Sequence;
use super::words::OWNERS;
use crate::model::Via;

fn new() -> impl Strategy<Value = New> {
    let texts = (option::weighted(0.3, 0..12_usize), option::weighted(0.3, 0..4_usize));
    let urls = (option::weighted(0.4, 0..6_usize), option::weighted(0.3, 0..6_usize));
    let captcha = (0..9_usize, vec((0..12_usize, 0..12_usize), 0..3), vec(vec(any::<u8>(), 0..9), 0..3));
    let ttl = prop_oneof![Just(0_u64), 1..120_u64, 600..5000_u64];
    (OWNERS, -2..3_i32, texts, urls, captcha, ttl).prop_map(|(owner, priority, texts, urls, captcha, ttl)| {
        let ((tag, key), (callback, webhook), (kind, params, files)) = (texts, urls, captcha);
        New { owner, kind, tag, priority, params, files, key, callback, webhook, ttl }
    })
}

fn received() -> impl Strategy<Value = Received> {
    // More than nine decimals are rounded, and a float may round a half down.
    let price = prop_oneof![
        "0\\.00[0-9]{1,3}",
        "[0-9]{1,5}(\\.[0-9]{1,9})?",
        "[0-9]{24}",
        Just("0.0000000004999999999999".to_owned()),
        Just("999999.9999999999".to_owned()),
        Just("000000000000000000000.50".to_owned()),
    ];
    let age = prop_oneof![4 => Just(0_i64), 1 => 0..3_600_000_i64];
    (0..9_usize, 0..8_usize, option::of(price), any::<bool>(), age)
        .prop_map(|(captcha, code, price, extra, age)| Received { captcha, code, price, extra, age })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        5 => (0..9_usize, option::weighted(0.8, 0..900_u64)).prop_map(|(id, ask)| Change::Accepted(id, ask)),
        4 => (0..12_usize, 0..400_u64).prop_map(|(what, secs)| Change::Sent(what, secs)),
        2 => (0..9_usize).prop_map(Change::Confirm),
        1 => Just(Change::Cancel),
        1 => Just(Change::Expire),
        1 => any::<bool>().prop_map(Change::Leave),
        1 => option::of(0..900_u64).prop_map(Change::AskAgain),
    ]
}

fn tried() -> impl Strategy<Value = Tried> {
    prop_oneof![
        2 => Just(Tried::Replied(200)),
        1 => Just(Tried::Replied(410)),
        2 => (300..600_u16).prop_map(Tried::Replied),
        2 => (0..12_usize).prop_map(Tried::Failed),
        1 => (0..12_usize).prop_map(Tried::Hopeless),
        1 => Just(Tried::Postponed),
    ]
}

fn on_tasks() -> BoxedStrategy<Operation> {
    let via = prop_oneof![Just(Via::Pingback), Just(Via::Reconcile)];
    prop_oneof![
        7 => vec(new(), 1..4).prop_map(Operation::Submit),
        7 => (1..6_u32).prop_map(Operation::Claim),
        9 => (0..40_usize, change()).prop_map(|(task, change)| Operation::Change(task, change)),
        3 => (vec(0..40_usize, 1..6), change()).prop_map(|(tasks, change)| Operation::ChangeAll(tasks, change)),
        6 => (received(), via).prop_map(|(received, via)| Operation::Receive(received, via)),
        2 => vec((received(), option::of(0..40_usize)), 1..4).prop_map(Operation::Park),
        2 => any::<bool>().prop_map(Operation::Sweep),
        1 => Just(Operation::AskForAll),
        1 => (0..20_u32, 0..9_u32).prop_map(|(most, limit)| Operation::Trim(most, limit)),
        1 => (0..40_usize, any::<bool>(), option::of(0..3_usize))
            .prop_map(|(task, is_good, reply)| Operation::Report(task, is_good, reply)),
    ]
    .boxed()
}

fn on_deliveries() -> BoxedStrategy<Operation> {
    let owner = || option::weighted(0.4, OWNERS);
    prop_oneof![
        8 => (0..60_usize, tried(), prop::bool::weighted(0.2))
            .prop_map(|(delivery, tried, stale)| Operation::Attempt(delivery, tried, stale)),
        2 => vec(0..60_usize, 1..6).prop_map(Operation::GiveUp),
        1 => (0..60_usize).prop_map(Operation::WebhookGone),
        3 => (0..60_usize, owner()).prop_map(|(delivery, owner)| Operation::Replay(delivery, owner)),
        2 => vec(0..60_usize, 1..6).prop_map(Operation::ReplayAll),
        1 => (0..100_000_i64).prop_map(Operation::Replan),
        1 => (0..40_usize).prop_map(Operation::DropDelivery),
        4 => (OWNERS, any::<bool>(), 0..6_usize, any::<u8>(), 0..3_usize).prop_map(
            |(owner, sees_all, url, kinds, secret)| Operation::AddWebhook { owner, sees_all, url, kinds, secret }
        ),
        2 => (0..9_usize, owner(), 1..9_u32).prop_map(|(hook, owner, limit)| Operation::DeleteWebhook(hook, owner, limit)),
        1 => (0..9_usize, owner()).prop_map(|(hook, owner)| Operation::EnableWebhook(hook, owner)),
        1 => (0..9_usize, 0..12_usize).prop_map(|(hook, why)| Operation::DisableWebhook(hook, why)),
        1 => (0..9_usize, owner(), 0..3_usize).prop_map(|(hook, owner, secret)| Operation::RotateWebhook(hook, owner, secret)),
        1 => (OWNERS, 0..3_usize).prop_map(|(owner, secret)| Operation::SigningKeys(owner, secret)),
        1 => (OWNERS, 0..3_usize).prop_map(|(owner, secret)| Operation::RotateKeys(owner, secret)),
    ]
    .boxed()
}

fn on_the_rest() -> BoxedStrategy<Operation> {
    let hold = || option::of((0..12_usize, -1..100_000_i64));
    prop_oneof![
        1 => (0..2_usize, 0..1300_u32, 0..90_u32).prop_map(|(at, calls, refusals)| Operation::StoreCredit(at, calls, refusals)),
        1 => (0..2_usize, hold(), hold()).prop_map(|(at, first, second)| Operation::StoreBackoff(at, first, second)),
        1 => (0..4_usize, 0..12_usize).prop_map(|(name, value)| Operation::Remember(name, value)),
        1 => (0..12_usize).prop_map(Operation::AddToken),
        1 => (1..4_i64).prop_map(Operation::DeleteToken),
        2 => (OWNERS, 0..6_usize, 0..4_u32).prop_map(|(owner, url, most)| Operation::AddCallerUrl(owner, url, most)),
        1 => (OWNERS, option::of(0..6_usize)).prop_map(|(owner, url)| Operation::DeleteCallerUrl(owner, url)),
        1 => (0..12_usize).prop_map(Operation::AddUrl),
        1 => (0..13_usize).prop_map(Operation::DeleteUrl),
        3 => look().prop_map(Operation::Look),
    ]
    .boxed()
}

fn look() -> impl Strategy<Value = Look> {
    (OWNERS, 0..4_usize, 0..90_000_000_i64, 0..60_usize, 1..6_u32)
        .prop_map(|(owner, key, age, delivery, limit)| Look { owner, key, age, delivery, limit })
}

fn operation() -> BoxedStrategy<Operation> {
    let ages = [0..90_000_u32, 0..90_000_u32, 0..90_000_u32];
    prop_oneof![
        1 => Just(Operation::Nothing),
        110 => on_tasks(),
        60 => on_deliveries(),
        14 => on_the_rest(),
        6 => (ages, prop_oneof![3 => 1..12_u32, 1 => Just(1000_u32)]).prop_map(|(ages, limit)| Operation::Retire(ages, limit)),
        1 => Just(Operation::Abandon),
    ]
    .boxed()
}

/// So many transactions, one after the other.
pub(super) fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let advance = prop_oneof![
        4 => 0..1000_i64,
        8 => 0..60_000_i64,
        1 => 0..1_200_000_i64,
        1 => 0..50_000_000_i64,
        1 => -10_000..0_i64,
    ];
    let more = (option::weighted(0.4, operation()), option::weighted(0.1, operation()));
    let operations = (operation(), more)
        .prop_map(|(first, (second, third))| [Some(first), second, third].into_iter().flatten().collect());
    let each = (advance, operations, prop::bool::weighted(0.9));
    let each = each.prop_map(|(advance, operations, is_kept)| Step { advance, operations, is_kept });
    Sequence { each, length }
}

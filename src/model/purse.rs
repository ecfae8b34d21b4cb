//! Credit with the provider: requests are paid from it, captchas that were taken fill it.

/// How a purse fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The most that is in it, and what it holds at first.
    pub capacity: u32,
    /// What each captcha that the provider takes puts into it.
    pub per_captcha: u32,
}

impl Terms {
    /// Requests to `res.php`. The provider blocks an account with more of them than 20 for each
    /// captcha and 1200 (API document, `ERROR: 1005`), and does not say since when it counts.
    pub const CALLS: Self = Self { capacity: 1200, per_captcha: 20 };

    /// Replies of `ERROR_NO_SLOT_AVAILABLE`. The provider blocks an account with three times more of
    /// them than captchas, but not fewer than 120 (API document, `ERROR: 1003`). With C captchas,
    /// `79 + C` stays below the greater of `120` and `3 * C`, whatever C is.
    pub const REFUSALS: Self = Self { capacity: 79, per_captcha: 1 };
}

/// Credit that keeps a limit of the form `per_captcha * C + capacity` in **every** span of time: it
/// never holds more than `capacity`, so what was saved up before a span buys no more than that in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    level: u32,
    terms: Terms,
}

impl Purse {
    /// A purse with so much in it; more than its capacity is left out.
    #[must_use]
    pub fn with(level: u32, terms: Terms) -> Self {
        Self { level: level.min(terms.capacity), terms }
    }

    /// A purse as full as it gets.
    #[must_use]
    pub const fn full(terms: Terms) -> Self {
        Self { level: terms.capacity, terms }
    }

    /// What is in it.
    #[must_use]
    pub const fn level(self) -> u32 {
        self.level
    }

    /// Pays for one request, if `reserve` is left then; else takes nothing and is `false`.
    #[must_use]
    pub fn pay(&mut self, reserve: u32) -> bool {
        let is_enough = self.level > reserve;
        self.level -= u32::from(is_enough);
        is_enough
    }

    /// Puts back what was paid for a request that the provider cannot have seen.
    pub fn refund(&mut self) {
        self.put(1);
    }

    /// The provider has taken so many captchas.
    pub fn earn(&mut self, captchas: u32) {
        self.put(captchas.saturating_mul(self.terms.per_captcha));
    }

    fn put(&mut self, amount: u32) {
        self.level = self.level.saturating_add(amount).min(self.terms.capacity);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What happens to a purse.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Ask { reserve: u32 },
        Taken(u32),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            8 => (0_u32..400).prop_map(|reserve| Act::Ask { reserve: reserve.saturating_sub(300) }),
            1 => (0_u32..4).prop_map(Act::Taken),
        ];
        proptest::collection::vec(act, 0..4000)
    }

    /// The most that `paid - per_captcha * taken` comes to in any span of the trace.
    fn worst_span(trace: &[Act], terms: Terms) -> i64 {
        let mut purse = Purse::full(terms);
        let (mut worst, mut ending_here) = (0_i64, 0_i64);
        for act in trace {
            ending_here += match act {
                Act::Ask { reserve } => i64::from(purse.pay(*reserve)),
                Act::Taken(captchas) => {
                    purse.earn(*captchas);
                    -i64::from(captchas * terms.per_captcha)
                }
            };
            // The worst span that ends here either goes on with the one before or begins anew.
            ending_here = ending_here.max(0);
            worst = worst.max(ending_here);
        }
        worst
    }

    proptest! {
        #[test]
        fn no_span_has_more_requests_than_the_limit(trace in acts()) {
            for terms in [Terms::CALLS, Terms::REFUSALS] {
                prop_assert!(worst_span(&trace, terms) <= i64::from(terms.capacity));
            }
        }

        #[test]
        fn the_refusals_that_are_allowed_never_block(captchas in 0_u32..10_000) {
            let allowed = Terms::REFUSALS.capacity + captchas;
            prop_assert!(allowed < 120.max(3 * captchas));
        }
    }

    #[test]
    fn what_is_kept_in_reserve_is_left_for_what_matters_more() {
        let mut purse = Purse::with(2, Terms::CALLS);
        assert!(!purse.pay(2));
        assert!(purse.pay(0) && purse.pay(0) && !purse.pay(0));
        purse.refund();
        assert_eq!(purse.level(), 1);
        purse.earn(1000);
        assert_eq!(purse.level(), 1200);
    }
}

//! What is being tried, and whether there is room for more.

use std::collections::{HashMap, HashSet};

use super::{MAX_IN_FLIGHT, MAX_PER_OWNER, MAX_PER_RECEIVER};
use crate::model::{Delivery, TokenId};

/// What is being tried.
#[derive(Default)]
pub(super) struct UnderWay {
    ids: HashSet<i64>,
    by_receiver: HashMap<String, u32>,
    by_owner: HashMap<TokenId, u32>,
}

/// An attempt that has ended.
pub(super) struct Ended {
    pub(super) id: i64,
    pub(super) owner: TokenId,
    pub(super) receiver: String,
}

impl Ended {
    pub(super) fn of(delivery: &Delivery) -> Self {
        Self { id: delivery.id, owner: delivery.owner, receiver: delivery.receiver.clone() }
    }
}

impl UnderWay {
    /// Whether there is room for this one, and it is not under way yet. If so, it is now.
    pub(super) fn take(&mut self, delivery: &Delivery) -> bool {
        let of_receiver = self.by_receiver.get(&delivery.receiver).copied().unwrap_or(0);
        let of_owner = self.by_owner.get(&delivery.owner).copied().unwrap_or(0);
        let has_room = self.has_room() && of_receiver < MAX_PER_RECEIVER && of_owner < MAX_PER_OWNER;
        if !has_room || !self.ids.insert(delivery.id) {
            return false;
        }
        self.by_receiver.insert(delivery.receiver.clone(), of_receiver + 1);
        self.by_owner.insert(delivery.owner, of_owner + 1);
        true
    }

    pub(super) fn release(&mut self, ended: &Ended) {
        self.ids.remove(&ended.id);
        if let Some(count) = self.by_receiver.get_mut(&ended.receiver) {
            *count -= 1;
        }
        if let Some(count) = self.by_owner.get_mut(&ended.owner) {
            *count -= 1;
        }
        self.by_receiver.retain(|_, count| *count > 0);
        self.by_owner.retain(|_, count| *count > 0);
    }

    /// Whether there is room for another at all.
    pub(super) fn has_room(&self) -> bool {
        self.ids.len() < MAX_IN_FLIGHT
    }

    pub(super) fn ids(&self) -> &HashSet<i64> {
        &self.ids
    }

    /// Whoever has all the places that one may have. While there is room at all, this is one at most.
    pub(super) fn full_owner(&self) -> Option<TokenId> {
        self.by_owner.iter().find(|(_, count)| **count >= MAX_PER_OWNER).map(|(owner, _)| *owner)
    }
}

//! An event as all who read it are sent it.

use std::fmt::Write as _;

use crate::model::{Event, EventBody, EventKind, FeedId, TokenId};

/// An event, and its text, which is made once.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) number: i64,
    pub(super) kind: EventKind,
    pub(super) owner: Option<TokenId>,
    text: Box<str>,
    /// Where in the text the JSON is.
    json: usize,
}

/// What stands behind an event in a stream.
const END: &str = "\n\n";

impl Item {
    pub(super) fn new(event: &Event, feed: &FeedId) -> Self {
        let json = serde_json::to_string(&EventBody::new(event, feed)).expect("what callers see is JSON");
        Self::of(event.number, event.kind, event.owner, &json, feed)
    }

    /// One whose JSON is made already. JSON of `serde_json` has no line breaks.
    pub(super) fn of(
        number: i64,
        kind: EventKind,
        owner: Option<TokenId>,
        json: &str,
        feed: &FeedId,
    ) -> Self {
        let mut text = String::with_capacity(json.len() + 96);
        write!(text, "id: {}\nevent: {kind}\ndata: ", feed.cursor(number))
            .expect("writing to a String never fails");
        let begin = text.len();
        text.push_str(json);
        text.push_str(END);
        Self { number, kind, owner, text: text.into(), json: begin }
    }

    /// The event in JSON.
    pub(crate) fn json(&self) -> &str {
        &self.text[self.json..self.text.len() - END.len()]
    }

    /// The event as a stream tells it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The memory that it takes, about.
    pub(super) fn size_bytes(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_and_a_page_tell_the_same_event() {
        let feed = FeedId::new("3f2a9c1b");
        let item = Item::of(1042, EventKind::Solved, None, r#"{"id":"…"}"#, &feed);
        assert_eq!(item.json(), r#"{"id":"…"}"#);
        assert_eq!(item.text(), "id: 3f2a9c1b-1042\nevent: task.solved\ndata: {\"id\":\"…\"}\n\n");
    }
}

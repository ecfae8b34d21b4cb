//! Where callers have subscribed to events. A trigger writes what is to be sent.

use std::time::Duration;

use super::db::Row;
use super::rows::{corrupt, time, time_if_any};
use super::{Store, StoreError, WriteTx, signing};
use crate::model::{CallerUrl, Disabled, EventKind, NewWebhook, SigningSecret, Timestamp, TokenId, Webhook};

/// How long the secret before the current one signs too.
pub(super) const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// What is said of what waited for a webhook that was deleted.
pub(super) const DELETED: &str = "the webhook was deleted";

/// The columns that [`webhook`] reads.
macro_rules! webhook_columns {
    () => {
        "id, owner, url, types, secret, old_secret, old_until, created_at, disabled_at, disabled_why"
    };
}

fn webhook(row: &Row) -> Result<Webhook, sqlx::Error> {
    let kinds = row.try_get::<&str, _>("types")?.split(',').filter(|name| !name.is_empty());
    let kinds = kinds.map(|name| name.parse::<EventKind>().map_err(|()| corrupt("types")));
    let disabled = match time_if_any(row, "disabled_at")? {
        Some(at) => {
            let reason = row.try_get::<Option<_>, _>("disabled_why")?.unwrap_or_default();
            Some(Disabled { at, reason })
        }
        None => None,
    };
    Ok(Webhook {
        id: row.try_get("id")?,
        owner: TokenId::from_number(row.try_get("owner")?),
        url: CallerUrl::parse(row.try_get("url")?).map_err(|_| corrupt("url"))?,
        kinds: kinds.collect::<Result<_, _>>()?,
        keys: signing::keys(row)?,
        created_at: time(row, "created_at")?,
        disabled,
    })
}

/// The kinds as the trigger looks for them: with a comma before and after each.
fn listed(kinds: &[EventKind]) -> String {
    kinds.iter().fold(",".to_owned(), |list, kind| list + kind.as_str() + ",")
}

impl Store {
    /// The webhooks, oldest first; with an owner only theirs.
    pub(crate) async fn webhooks(&self, owner: Option<TokenId>) -> Result<Vec<Webhook>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            webhook_columns!(),
            " FROM webhook WHERE ($1 IS NULL OR owner = $1) ORDER BY id"
        );
        let rows = self.reader.query(SQL).bind(owner.map(TokenId::number)).fetch_all().await?;
        Ok(rows.iter().map(webhook).collect::<Result<_, _>>()?)
    }

    /// The webhook with this number; with an owner only one of theirs.
    pub(crate) async fn webhook(
        &self,
        id: i64,
        owner: Option<TokenId>,
    ) -> Result<Option<Webhook>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            webhook_columns!(),
            " FROM webhook WHERE id = $1 AND ($2 IS NULL OR owner = $2)"
        );
        let query = self.reader.query(SQL).bind(id).bind(owner.map(TokenId::number));
        Ok(query.fetch_optional().await?.as_ref().map(webhook).transpose()?)
    }

    /// Whether anybody has subscribed to anything.
    pub(crate) async fn has_webhooks(&self) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM webhook)";
        Ok(self.own_reader.query(SQL).fetch_one().await?.try_get(0)?)
    }
}

impl WriteTx<'_> {
    /// Stores a subscription, unless its owner has `most` of them.
    pub(crate) async fn insert_webhook(
        &mut self,
        new: &NewWebhook,
        most: u32,
        now: Timestamp,
    ) -> Result<Option<Webhook>, StoreError> {
        const SQL: &str = concat!(
            "INSERT INTO webhook (owner, sees_all, url, receiver, types, secret, created_at)
            SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT COUNT(*) FROM webhook WHERE owner = $1) < $8
            RETURNING ",
            webhook_columns!()
        );
        let query = self
            .query(SQL)
            .bind(new.owner.number())
            .bind(i64::from(new.sees_all))
            .bind(new.url.text())
            .bind(new.url.receiver())
            .bind(listed(&new.kinds))
            .bind(new.secret.expose())
            .bind(now.as_micros())
            .bind(i64::from(most));
        Ok(query.fetch_optional().await?.as_ref().map(webhook).transpose()?)
    }

    /// Deletes a webhook; with an owner only one of theirs. What waits for it is ended apart from that, by
    /// [`end_deliveries_of`](Self::end_deliveries_of).
    pub(crate) async fn delete_webhook(
        &mut self,
        id: i64,
        owner: Option<TokenId>,
    ) -> Result<Option<Webhook>, StoreError> {
        const SQL: &str = concat!(
            "DELETE FROM webhook WHERE id = $1 AND ($2 IS NULL OR owner = $2) RETURNING ",
            webhook_columns!()
        );
        let query = self.query(SQL).bind(id).bind(owner.map(TokenId::number));
        Ok(query.fetch_optional().await?.as_ref().map(webhook).transpose()?)
    }

    /// Gives up on at most `limit` of what waits for a webhook that was deleted; how many there were.
    pub(crate) async fn end_deliveries_of(
        &mut self,
        deleted: &Webhook,
        limit: u32,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE delivery SET status = 'dead', last_error = $5, ended_at = $6
            WHERE id IN (SELECT id FROM delivery
                WHERE status = 'waiting' AND receiver = $1 AND owner = $2 AND webhook_id = $3 LIMIT $4)";
        let query = self
            .query(SQL)
            .bind(format!("{}#{}", deleted.url.receiver(), deleted.id))
            .bind(deleted.owner.number())
            .bind(deleted.id)
            .bind(i64::from(limit))
            .bind(DELETED)
            .bind(now.as_micros());
        Ok(query.execute().await?)
    }

    /// Has a webhook told of events again; with an owner only one of theirs.
    pub(crate) async fn enable_webhook(
        &mut self,
        id: i64,
        owner: Option<TokenId>,
    ) -> Result<Option<Webhook>, StoreError> {
        const SQL: &str = concat!(
            "UPDATE webhook SET disabled_at = NULL, disabled_why = NULL
            WHERE id = $1 AND ($2 IS NULL OR owner = $2) RETURNING ",
            webhook_columns!()
        );
        let query = self.query(SQL).bind(id).bind(owner.map(TokenId::number));
        Ok(query.fetch_optional().await?.as_ref().map(webhook).transpose()?)
    }

    /// Gives a webhook another secret; with an owner only one of theirs. The one before signs too for a day. The
    /// secret that it has already changes nothing.
    pub(crate) async fn rotate_webhook(
        &mut self,
        id: i64,
        owner: Option<TokenId>,
        secret: &SigningSecret,
        now: Timestamp,
    ) -> Result<Option<Webhook>, StoreError> {
        const SQL: &str = concat!(
            "UPDATE webhook SET
                old_secret = CASE WHEN secret = $3 THEN old_secret ELSE secret END,
                old_until = CASE WHEN secret = $3 THEN old_until ELSE $4 END,
                secret = $3
            WHERE id = $1 AND ($2 IS NULL OR owner = $2) RETURNING ",
            webhook_columns!()
        );
        let query = self
            .query(SQL)
            .bind(id)
            .bind(owner.map(TokenId::number))
            .bind(secret.expose())
            .bind(now.after(OVERLAP).as_micros());
        Ok(query.fetch_optional().await?.as_ref().map(webhook).transpose()?)
    }
}

//! The tokens that callers show.

use super::db::{Row, Sql, sql};
use super::rows::{corrupt, parsed, time, time_if_any};
use super::write::json;
use super::{Store, StoreError, WriteTx};
use crate::model::{NewToken, Scopes, Timestamp, Token, TokenId};

/// The columns that [`token`] reads.
macro_rules! token_columns {
    () => {
        "id, name, digest, scopes, created_at, last_used_at"
    };
}

const TOKENS: &str = concat!("SELECT ", token_columns!(), " FROM token ORDER BY id");

fn token(row: &Row) -> Result<Token, sqlx::Error> {
    Ok(Token {
        id: TokenId::from_number(row.try_get("id")?),
        name: row.try_get("name")?,
        digest: row.try_get::<Vec<u8>, _>("digest")?.try_into().map_err(|_| corrupt("digest"))?,
        scopes: parsed(row, "scopes")?,
        created_at: time(row, "created_at")?,
        last_used_at: time_if_any(row, "last_used_at")?,
    })
}

/// What became of the wish to revoke a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// It opens nothing any more; its webhooks went with it.
    Done(Token),
    /// There is none of this id.
    Unknown,
    /// It stays: it is the last one that could make another.
    LastAdmin,
}

impl Store {
    /// Every token, oldest first.
    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        Ok(self.own_reader.query(TOKENS).fetch_all().await?.iter().map(token).collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Every token, oldest first.
    pub(crate) async fn tokens(&mut self) -> Result<Vec<Token>, StoreError> {
        Ok(self.query(TOKENS).fetch_all().await?.iter().map(token).collect::<Result<_, _>>()?)
    }

    /// Whether the token is there, and admin if it `must_be_admin`; whoever needs none is.
    pub(crate) async fn may(&mut self, token: TokenId, must_be_admin: bool) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT scopes FROM token WHERE id = $1";
        if token == TokenId::LOCAL {
            return Ok(true);
        }
        let Some(row) = self.query(SQL).bind(token.number()).fetch_optional().await? else {
            return Ok(false);
        };
        Ok(!must_be_admin || parsed::<Scopes>(&row, "scopes")?.admin)
    }

    /// Stores a token, unless there are `most` of them.
    pub(crate) async fn insert_token(
        &mut self,
        new: &NewToken,
        most: u32,
        now: Timestamp,
    ) -> Result<Option<Token>, StoreError> {
        const SQL: &str = concat!(
            "INSERT INTO token (name, digest, scopes, created_at)
            SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM token) < $5 RETURNING ",
            token_columns!()
        );
        let query = self
            .query(SQL)
            .bind(new.name.as_str())
            .bind(new.digest.as_slice())
            .bind(new.scopes.to_string())
            .bind(now.as_micros())
            .bind(i64::from(most));
        Ok(query.fetch_optional().await?.as_ref().map(token).transpose()?)
    }

    /// Deletes a token. The last one with the scope admin stays, unless one `has_other_admin`.
    pub(crate) async fn delete_token(
        &mut self,
        id: TokenId,
        has_other_admin: bool,
    ) -> Result<Revoked, StoreError> {
        const SQL: &str = "DELETE FROM token WHERE id = $1";
        let (mut found, others): (Vec<_>, Vec<_>) =
            self.tokens().await?.into_iter().partition(|token| token.id == id);
        let Some(token) = found.pop() else { return Ok(Revoked::Unknown) };
        if token.scopes.admin && !has_other_admin && !others.iter().any(|other| other.scopes.admin) {
            return Ok(Revoked::LastAdmin);
        }
        self.query(SQL).bind(id.number()).execute().await?;
        Ok(Revoked::Done(token))
    }

    /// Stores when tokens were last used; a time that lies before the stored one changes nothing.
    pub(crate) async fn store_token_use(&mut self, used: &[(TokenId, Timestamp)]) -> Result<(), StoreError> {
        const SQL: Sql = sql!("UPDATE token SET last_used_at = ", {
            "pair.value->>1 FROM json_each($1) AS pair
                WHERE token.id = pair.value->>0 AND COALESCE(last_used_at, 0) < pair.value->>1"
                | "(pair.value->>1)::bigint FROM json_array_elements($1::json) AS pair
                WHERE token.id = (pair.value->>0)::bigint
                    AND COALESCE(last_used_at, 0) < (pair.value->>1)::bigint"
        });
        let pairs = json(used.iter().map(|(id, at)| (id.number(), at.as_micros())));
        self.query(SQL).bind(pairs).execute().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const READ: Scopes = Scopes { submit: false, read: true, admin: false };

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    async fn insert(store: &Store, name: &str, scopes: Scopes, most: u32) -> Option<Token> {
        let (new, _) = NewToken::random(name, scopes).unwrap();
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await.unwrap();
        let token = tx.insert_token(&new, most, at(5)).await.unwrap();
        tx.commit().await.unwrap();
        token
    }

    async fn delete(store: &Store, id: TokenId, has_other_admin: bool) -> Revoked {
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await.unwrap();
        let revoked = tx.delete_token(id, has_other_admin).await.unwrap();
        tx.commit().await.unwrap();
        revoked
    }

    #[tokio::test]
    async fn tokens_are_stored_by_their_digest_up_to_so_many() {
        let folder = TempDir::new().unwrap();
        let store = Store::for_test(&folder).await;
        let first = insert(&store, "a", Scopes::ADMIN, 2).await.unwrap();
        let second = insert(&store, "a", READ, 2).await.unwrap();
        assert_eq!(insert(&store, "one too many", READ, 2).await, None);
        assert_eq!((first.created_at, first.last_used_at), (at(5), None));
        assert_eq!(store.tokens().await.unwrap(), [first, second]);
    }

    #[tokio::test]
    async fn the_last_admin_token_is_not_deleted() {
        let folder = TempDir::new().unwrap();
        let store = Store::for_test(&folder).await;
        let first = insert(&store, "first", Scopes::ADMIN, 9).await.unwrap();
        let reader = insert(&store, "reader", READ, 9).await.unwrap();
        assert_eq!(delete(&store, first.id, false).await, Revoked::LastAdmin);
        assert_eq!(delete(&store, TokenId::from_number(99), false).await, Revoked::Unknown);
        let second = insert(&store, "second", Scopes::ADMIN, 9).await.unwrap();
        assert_eq!(delete(&store, first.id, false).await, Revoked::Done(first));
        assert_eq!(delete(&store, reader.id, false).await, Revoked::Done(reader));
        assert_eq!(delete(&store, second.id, false).await, Revoked::LastAdmin);
        assert_eq!(delete(&store, second.id, true).await, Revoked::Done(second));
        assert_eq!(store.tokens().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_token_that_is_gone_may_nothing() {
        let folder = TempDir::new().unwrap();
        let store = Store::for_test(&folder).await;
        let (admin, reader) = (
            insert(&store, "a", Scopes::ADMIN, 9).await.unwrap(),
            insert(&store, "b", READ, 9).await.unwrap(),
        );
        let may = async |id, must_be_admin| {
            let mut writing = store.writing().await;
            let mut tx = writing.begin().await.unwrap();
            let may = tx.may(id, must_be_admin).await.unwrap();
            tx.commit().await.unwrap();
            may
        };
        assert!(may(admin.id, true).await && may(reader.id, false).await && may(TokenId::LOCAL, true).await);
        assert!(!may(reader.id, true).await);
        delete(&store, reader.id, false).await;
        assert!(!may(reader.id, false).await);
    }

    #[tokio::test]
    async fn the_time_of_last_use_only_grows() {
        let folder = TempDir::new().unwrap();
        let store = Store::for_test(&folder).await;
        let (one, other) = (insert(&store, "a", READ, 9).await.unwrap(), insert(&store, "b", READ, 9).await);
        let other = other.unwrap();
        for used in [[(one.id, at(20)), (other.id, at(30))], [(one.id, at(19)), (other.id, at(31))]] {
            let mut writing = store.writing().await;
            let mut tx = writing.begin().await.unwrap();
            tx.store_token_use(&used).await.unwrap();
            tx.commit().await.unwrap();
        }
        let times = store.tokens().await.unwrap().into_iter().map(|token| token.last_used_at);
        assert_eq!(times.collect::<Vec<_>>(), [Some(at(20)), Some(at(31))]);
    }
}

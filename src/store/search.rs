//! Tasks that a person looks for, by whatever names them.

use super::rows::{self, task_columns};
use super::{Store, StoreError, TaskFilter, TaskPage};
use crate::model::{CaptchaId, Task, TaskId, TokenId};

/// The most tasks that one captcha ID is looked for in: there is one, unless a provider hands out an ID twice.
const MAX_NAMED: i64 = 20;

/// Whether the text is the task's ID or its captcha's.
fn is_named(task: &Task, text: &str) -> bool {
    let by_captcha = task.captcha_id.as_ref().is_some_and(|id| id.as_str() == text);
    by_captcha || text.parse::<TaskId>().is_ok_and(|id| id == task.id)
}

impl Store {
    /// The task with this id; with an owner, only one of theirs.
    pub(crate) async fn task_of(
        &self,
        id: TaskId,
        owner: Option<TokenId>,
    ) -> Result<Option<Task>, StoreError> {
        let found = self.tasks(&[id]).await?;
        Ok(found.into_iter().find(|task| owner.is_none_or(|owner| owner == task.owner)))
    }

    /// A page of the tasks that pass the filter and that the text names, as their ID, their captcha's, or their tag. Those
    /// that are named by an ID stand first, on the first page.
    pub(crate) async fn find_tasks(&self, text: &str, filter: &TaskFilter) -> Result<TaskPage, StoreError> {
        // No database holds one.
        if text.contains('\0') {
            return Ok(TaskPage { tasks: Vec::new(), next: None });
        }
        let tagged = TaskFilter { tag: Some(text.to_owned()), ..filter.clone() };
        let TaskPage { mut tasks, next } = self.list_tasks(&tagged).await?;
        tasks.retain(|task| !is_named(task, text));
        if filter.before.is_none() {
            let mut named = self.named_tasks(text).await?;
            named.retain(|task| filter.lets_pass(task));
            tasks.splice(..0, named);
        }
        Ok(TaskPage { tasks, next })
    }

    /// Newest first.
    async fn named_tasks(&self, text: &str) -> Result<Vec<Task>, StoreError> {
        const BY_CAPTCHA: &str =
            concat!("SELECT ", task_columns!(), " FROM task WHERE captcha_id = $1 ORDER BY id DESC LIMIT $2");
        let mut named = Vec::new();
        if let Ok(captcha_id) = text.parse::<CaptchaId>() {
            let found = self.reader.query(BY_CAPTCHA).bind(captcha_id.as_str()).bind(MAX_NAMED);
            let found = found.fetch_all().await?;
            named = found.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        }
        if let Ok(id) = text.parse::<TaskId>()
            && named.iter().all(|task| task.id != id)
        {
            named.extend(self.tasks(&[id]).await?);
        }
        named.sort_by_key(|task| std::cmp::Reverse(task.id));
        Ok(named)
    }
}

impl TaskFilter {
    /// The same as in the database, but for the tag and the place of the page.
    fn lets_pass(&self, task: &Task) -> bool {
        self.owner.is_none_or(|owner| owner == task.owner)
            && self.status.is_none_or(|status| status == task.status)
            && self.kind.is_none_or(|kind| kind == task.kind)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::model::{CaptchaType, Status};

    /// Tasks 1 to 6, of which 4 has the captcha ID 6, and 5 the tag "6".
    async fn store(folder: &TempDir) -> Store {
        let store = Store::for_test(folder).await;
        let insert = "INSERT INTO task (id, owner, type, status, tag, priority, params, captcha_id, created_at, expires_at)
            VALUES (1, 1, 'text', 'queued', 'a', 0, '[]', NULL, 1, 9), (2, 1, 'image', 'solved', 'a', 0, '[]', '77', 1, 9),
                   (3, 2, 'text', 'solved', 'a', 0, '[]', '78', 1, 9), (4, 1, 'text', 'solved', NULL, 0, '[]', '6', 1, 9),
                   (5, 1, 'text', 'queued', '6', 0, '[]', NULL, 1, 9), (6, 2, 'text', 'queued', '6', 0, '[]', NULL, 1, 9)";
        store.execute(insert).await;
        store
    }

    fn filter() -> TaskFilter {
        TaskFilter { limit: 2, ..TaskFilter::default() }
    }

    async fn found(store: &Store, text: &str, filter: &TaskFilter) -> (Vec<i64>, Option<i64>) {
        let page = store.find_tasks(text, filter).await.unwrap();
        (page.tasks.iter().map(|task| task.id.number()).collect(), page.next.map(TaskId::number))
    }

    #[tokio::test]
    async fn a_task_is_found_by_its_id_its_captcha_s_and_its_tag() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        assert_eq!(found(&store, "6", &filter()).await, (vec![6, 4, 5], None));
        assert_eq!(found(&store, "77", &filter()).await, (vec![2], None));
        assert_eq!(found(&store, "1", &filter()).await, (vec![1], None));
        for nothing in ["99", "b", "a\0", "-1", "%"] {
            assert_eq!(found(&store, nothing, &filter()).await, (vec![], None), "{nothing:?}");
        }
    }

    #[tokio::test]
    async fn the_pages_of_a_tag_go_on_where_they_ended() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        assert_eq!(found(&store, "a", &filter()).await, (vec![3, 2], Some(2)));
        let rest = TaskFilter { before: TaskId::new(2), ..filter() };
        assert_eq!(found(&store, "a", &rest).await, (vec![1], None));
        // What is named by an ID was on the first page.
        let rest = TaskFilter { before: TaskId::new(6), ..filter() };
        assert_eq!(found(&store, "6", &rest).await, (vec![5], None));
    }

    #[tokio::test]
    async fn what_is_found_passes_the_filter_and_is_the_owner_s() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        let owner = Some(TokenId::from_number(1));
        let cases = [
            (TaskFilter { owner, ..filter() }, vec![4, 5]),
            (TaskFilter { status: Some(Status::Solved), ..filter() }, vec![4]),
            (TaskFilter { kind: Some(CaptchaType::Image), ..filter() }, vec![]),
        ];
        for (filter, tasks) in cases {
            assert_eq!(found(&store, "6", &filter).await.0, tasks, "{filter:?}");
        }
        assert!(store.task_of(TaskId::new(3).unwrap(), owner).await.unwrap().is_none());
        assert!(store.task_of(TaskId::new(1).unwrap(), owner).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_captcha_id_is_found_by_its_index() {
        let folder = TempDir::new().unwrap();
        let store =
            Store::open(&folder.path().join("test.db"), crate::model::Timestamp::now()).await.unwrap();
        for (sql, index) in [
            (
                "EXPLAIN QUERY PLAN SELECT answer FROM task WHERE captcha_id = $1 ORDER BY id DESC LIMIT $2",
                "task_by_captcha_id (captcha_id=?",
            ),
            (
                "EXPLAIN QUERY PLAN SELECT id FROM task WHERE tag = $1 AND id < $2 ORDER BY id DESC LIMIT 1 OFFSET $3",
                "COVERING INDEX task_by_tag (tag=? AND id<?",
            ),
        ] {
            let rows = store.reader.query(sql).bind("7").bind(5).bind(5).fetch_all().await.unwrap();
            let steps: Vec<String> = rows.iter().map(|row| row.try_get("detail").unwrap()).collect();
            assert!(steps.len() == 1 && steps[0].contains(index), "{steps:#?}");
        }
    }
}

//! The one writer, alone and beside those of other replicas.

use super::*;
use crate::model::{
    CaptchaType, EventKind, FieldValue, Fields, NewWebhook, Pingback, REMEMBERED, Submission,
};

async fn idle_writer(folder: &tempfile::TempDir) -> (Ingest, Writer) {
    let store = Store::for_test(folder).await;
    writer(store, AccountId::new([0; 32]), Heralds::default())
}

fn text_captcha() -> Fields {
    let mut fields = Fields::default();
    for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
        fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
    }
    fields
}

fn solved_after(seconds: u64, via: Via) -> Task {
    let submitted_at = Timestamp::from_micros(0);
    let submission = Submission::parse(text_captcha()).unwrap();
    let mut task = Task::new(TaskId::new(1).unwrap(), TokenId::LOCAL, &submission, submitted_at);
    task.submitted_at = Some(submitted_at);
    task.answered_at = Some(submitted_at.after(Duration::from_secs(seconds)));
    (task.status, task.via) = (Status::Solved, Some(via));
    task
}

#[tokio::test]
async fn an_answer_that_was_asked_for_says_nothing_of_how_long_captchas_take() {
    let folder = tempfile::tempdir().unwrap();
    let (_, writer) = idle_writer(&folder).await;
    let p90 = || writer.heralds.solve_times.lock().unwrap().p90(CaptchaType::Text);
    let usual = p90();
    writer.note_solve_times([solved_after(60, Via::Reconcile)].iter().cycle().take(REMEMBERED));
    assert_eq!(p90(), usual);
    writer.note_solve_times([solved_after(60, Via::Pingback)].iter().cycle().take(REMEMBERED));
    assert_eq!(p90(), Duration::from_secs(60));
}

#[tokio::test]
async fn the_deliverer_is_woken_for_events_only_while_there_are_webhooks() {
    let folder = tempfile::tempdir().unwrap();
    // Where other replicas may subscribe, there may always be some.
    let store = Store::open(&folder.path().join("test.db"), Timestamp::now()).await.unwrap();
    let (ingest, writer) = writer(store, AccountId::new([0; 32]), Heralds::default());
    let called_back = Arc::clone(&writer.heralds.called_back);
    let is_woken = async || {
        tokio::select! {
            biased;
            () = called_back.notified() => true,
            () = std::future::ready(()) => false,
        }
    };
    let ending = tokio::spawn(writer.run());
    let submit = async || {
        let submission = Submission::parse(text_captcha()).unwrap();
        let (owner, idempotency, daily_limit, pingback) = (TokenId::LOCAL, None, None, None);
        ingest.submit(Submit { owner, submission, idempotency, daily_limit, pingback }).await.unwrap();
    };
    submit().await;
    assert!(!is_woken().await);
    let webhook = NewWebhook {
        owner: TokenId::LOCAL,
        sees_all: true,
        url: CallerUrl::parse("https://example.com/").unwrap(),
        kinds: EventKind::ALL.to_vec(),
        secret: SigningSecret::random().unwrap(),
    };
    let webhook = ingest.add_webhook(webhook).await.unwrap().unwrap();
    assert!(!is_woken().await, "nothing of the past is told");
    submit().await;
    assert!(is_woken().await);
    ingest.probe().await.unwrap();
    assert!(!is_woken().await);
    ingest.replay_all(vec![1]).await.unwrap();
    assert!(is_woken().await);
    ingest.delete_webhook(Owned { id: webhook.id, owner: None }).await.unwrap();
    submit().await;
    assert!(!is_woken().await);
    drop(ingest);
    ending.await.unwrap();
}

#[tokio::test]
async fn a_task_that_hears_more_after_its_end_has_ended_once() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    let ending = tokio::spawn(writer.run());
    let submission = Submission::parse(text_captcha()).unwrap();
    let (owner, idempotency, daily_limit, pingback) = (TokenId::LOCAL, None, None, None);
    let submit = Submit { owner, submission, idempotency, daily_limit, pingback };
    let Ok(Submitted::New(task)) = ingest.submit(submit).await else { panic!("new") };
    // It came to the URL of this task alone, whatever captcha it names.
    for code in ["four", "5", "6"] {
        let pingback = Pingback {
            captcha_id: "77".parse().unwrap(),
            code: code.to_owned(),
            outcome: Outcome::of(code),
            price: None,
            extra: None,
            received_at: Timestamp::now(),
        };
        ingest.claim(Claim { limit: 1, tokens: Vec::new(), budget: None }).await.unwrap();
        ingest.pingback(Received { pingback, task: Some(task.id) }).await.unwrap();
    }
    let solved: Vec<_> = ingest.tally().ended[CaptchaType::Text as usize].all().collect();
    assert_eq!(solved[0], ("solved", 1));
    let late = ingest.tally().pingbacks.all().find(|(word, _)| *word == "late");
    assert_eq!(late, Some(("late", 2)));
    drop(ingest);
    ending.await.unwrap();
}

#[tokio::test]
async fn whoever_follows_the_feed_is_told_of_a_commit_when_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    let committed = Arc::clone(&writer.heralds.committed);
    let ending = tokio::spawn(writer.run());
    ingest.probe().await.unwrap();
    timeout(Duration::from_secs(5), committed.notified()).await.expect("told");
    drop(ingest);
    ending.await.unwrap();
}

/// Whether what was asked meanwhile is answered, all of it in the writer's first batch.
async fn in_one_batch<A, B>(
    writer: Writer,
    asked: (impl Future<Output = A>, impl Future<Output = B>),
) -> (A, B) {
    let (ready, is_ready) = oneshot::channel();
    tokio::spawn(async move {
        is_ready.await.unwrap();
        writer.run().await;
    });
    let asked = async { tokio::join!(asked.0, asked.1) };
    tokio::pin!(asked);
    // Both are in the queue once they have been polled.
    assert!(
        std::future::poll_fn(|context| std::task::Poll::Ready(asked.as_mut().poll(context).is_pending()))
            .await
    );
    ready.send(()).unwrap();
    asked.await
}

#[tokio::test]
async fn the_numbers_of_tasks_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    let submit = async || {
        let submission = Submission::parse(text_captcha()).unwrap();
        let (owner, idempotency, daily_limit, pingback) = (TokenId::LOCAL, None, None, None);
        ingest.submit(Submit { owner, submission, idempotency, daily_limit, pingback }).await.unwrap()
    };
    // What else is written with it takes no number.
    let (first, _) = in_one_batch(writer, (submit(), ingest.probe())).await;
    let numbers = [first, submit().await].map(|submitted| match submitted {
        Submitted::New(task) => task.id.number(),
        other => panic!("{other:?}"),
    });
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn a_row_that_fails_only_at_the_commit_fails_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some(store) = Store::on_postgres(&folder).await else { return };
    store
        .execute("INSERT INTO token (id, name, digest, scopes, created_at) VALUES (1, 'a', '', '', 0)")
        .await;
    let trap =
        "ALTER TABLE caller_url ADD FOREIGN KEY (owner) REFERENCES token (id) DEFERRABLE INITIALLY DEFERRED";
    store.execute(trap).await;
    let (ingest, writer) = writer(store, AccountId::new([0; 32]), Heralds::default());
    let add =
        |owner| ingest.add_caller_url(TokenId::from_number(owner), CallerUrl::parse("a.example").unwrap());
    let added = in_one_batch(writer, (add(1), add(99))).await;
    assert_eq!(added, (Ok(UrlAdded::Added), Err(WriteError::Failed)));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    // Nobody takes anything out: the writer does not run yet.
    let waiting: Vec<_> = (0..QUEUE)
        .map(|_| {
            let ingest = ingest.clone();
            tokio::spawn(async move { ingest.probe().await })
        })
        .collect();
    while ingest.queue.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    let refused = timeout(Duration::from_secs(5), ingest.probe()).await;
    assert_eq!(refused.expect("told at once"), Err(WriteError::Busy));

    let ending = tokio::spawn(writer.run());
    for probe in waiting {
        assert_eq!(probe.await.unwrap(), Ok(()));
    }
    drop(ingest);
    ending.await.unwrap();
}

#[tokio::test]
async fn of_a_queue_that_was_cut_own_writes_may_use_all() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    ingest.admission.limit_to(1);
    assert_eq!((ingest.admit_pingback(), ingest.queue()), (Ok(()), (0, 1)));
    let first = tokio::spawn({
        let ingest = ingest.clone();
        async move { ingest.probe().await }
    });
    while ingest.queue().0 == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ingest.admit_pingback(), Err(WriteError::Busy));
    let submission = Submission::parse(text_captcha()).unwrap();
    let (owner, idempotency, daily_limit, pingback) = (TokenId::LOCAL, None, None, None);
    let refused = ingest.submit(Submit { owner, submission, idempotency, daily_limit, pingback }).await;
    assert_eq!(refused.unwrap_err(), WriteError::Busy);
    let (first, second) = in_one_batch(writer, (first, ingest.probe())).await;
    assert_eq!((first.unwrap(), second), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_caller_registers_urls_and_deletes_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    let store = writer.store.clone();
    let ending = tokio::spawn(writer.run());
    let (one, other) = (TokenId::LOCAL, TokenId::from_number(7));
    let url = |text: &str| CallerUrl::parse(text).unwrap();
    for text in ["b.example/%7E", "http://a.example/", "http://b.example/%7E", "a.example"] {
        assert_eq!(ingest.add_caller_url(one, url(text)).await, Ok(UrlAdded::Added));
    }
    ingest.add_caller_url(other, url("c.example")).await.unwrap();
    assert_eq!(store.caller_urls(one).await.unwrap(), ["b.example/%7E", "http://a.example/"]);

    assert_eq!(ingest.delete_caller_url(one, Some(url("c.example"))).await, Ok(false));
    assert_eq!(ingest.delete_caller_url(one, Some(url("a.example"))).await, Ok(true));
    assert_eq!(store.caller_urls(one).await.unwrap(), ["b.example/%7E"]);
    assert_eq!(ingest.delete_caller_url(one, None).await, Ok(true));
    assert_eq!(ingest.delete_caller_url(one, None).await, Ok(false));
    assert_eq!(store.caller_urls(other).await.unwrap(), ["c.example"]);
    drop(ingest);
    ending.await.unwrap();
}

#[tokio::test]
async fn a_caller_has_a_hundred_urls_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    let ending = tokio::spawn(writer.run());
    let add = async |owner, number: u32| {
        let url = CallerUrl::parse(&format!("example.com/{number}")).unwrap();
        ingest.add_caller_url(TokenId::from_number(owner), url).await
    };
    for number in 0..100 {
        assert_eq!(add(1, number).await, Ok(UrlAdded::Added));
    }
    assert_eq!(add(1, 100).await, Ok(UrlAdded::Full));
    assert_eq!(add(1, 99).await, Ok(UrlAdded::Added), "it is there already");
    assert_eq!(add(2, 100).await, Ok(UrlAdded::Added), "another caller has room");
    drop(ingest);
    ending.await.unwrap();
}

#[tokio::test]
async fn replicas_pay_from_one_purse() {
    const CALLS: u32 = 100;
    let Some(stores) = Store::several_on_postgres(2).await else { return };
    let account = AccountId::new([0; 32]);
    let mut paying = tokio::task::JoinSet::new();
    for store in stores.clone() {
        let (ingest, writer) = writer(store, account.clone(), Heralds::default());
        tokio::spawn(writer.run());
        for _ in 0..CALLS {
            let ingest = ingest.clone();
            paying.spawn(async move { ingest.pay(0).await.unwrap().left.unwrap() });
        }
    }
    let mut left = paying.join_all().await;
    left.sort_unstable();
    let full = crate::store::Credit::default().calls.level();
    assert_eq!(left, (full - 2 * CALLS..full).collect::<Vec<_>>(), "each paid once");
    assert_eq!(stores[0].credit(&account).await.unwrap().calls.level(), full - 2 * CALLS);
}

#[tokio::test]
async fn a_captcha_that_two_replicas_hear_of_is_settled_once() {
    const ROUNDS: u32 = 40;
    let Some(stores) = Store::several_on_postgres(2).await else { return };
    let replicas: Vec<Ingest> = stores
        .iter()
        .map(|store| {
            let (ingest, writer) = writer(store.clone(), AccountId::new([0; 32]), Heralds::default());
            tokio::spawn(writer.run());
            ingest
        })
        .collect();
    for round in 1..=ROUNDS {
        let submission = Submission::parse(text_captcha()).unwrap();
        let (owner, idempotency, daily_limit, pingback) = (TokenId::LOCAL, None, None, None);
        let submit = Submit { owner, submission, idempotency, daily_limit, pingback };
        let Ok(Submitted::New(task)) = replicas[0].submit(submit).await else { panic!("it is new") };
        replicas[1].claim(Claim { limit: 1, tokens: Vec::new(), budget: None }).await.unwrap();
        let captcha_id: crate::model::CaptchaId = round.to_string().parse().unwrap();
        let sent = Sent::Accepted { captcha_id: captcha_id.clone(), at: Timestamp::now(), ask_at: None };
        replicas[1].record_sent(task.id, None, sent).await.unwrap();
        let received = |code: &str| Received { pingback: Pingback::of(&captcha_id, code), task: None };
        let (one, other) = (replicas[0].pingback(received("one")), replicas[1].pingback(received("other")));
        let receipts = tokio::join!(one, other);
        let settled = [receipts.0.unwrap(), receipts.1.unwrap()];
        let count = settled.iter().filter(|receipt| matches!(receipt, Receipt::Settled(_))).count();
        assert_eq!(count, 1, "the first counts, the other is kept: {settled:?}");
    }
    let ends = "SELECT COUNT(*) FROM event WHERE type = 'task.solved'";
    assert_eq!(stores[0].number(ends).await, i64::from(ROUNDS));
}

/// A task that was taken out of the queue; it says when.
async fn claimed(ingest: &Ingest) -> Task {
    let submission = Submission::parse(text_captcha()).unwrap();
    let (owner, idempotency, daily_limit, pingback) = (TokenId::LOCAL, None, None, None);
    ingest.submit(Submit { owner, submission, idempotency, daily_limit, pingback }).await.unwrap();
    let claim = Claim { limit: 1, tokens: Vec::new(), budget: None };
    ingest.claim(claim).await.unwrap().tasks.remove(0)
}

#[tokio::test]
async fn what_an_earlier_attempt_came_to_does_not_end_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    let store = writer.store.clone();
    tokio::spawn(writer.run());
    let task = claimed(&ingest).await;
    // Somebody gave up on whoever had sent it, and sent it again.
    let earlier = task.sent_at.map(|sent_at| sent_at.before(Duration::from_secs(300)));
    for late in [Sent::Unsent, Sent::Refused(crate::model::ErrorCode::known("ERROR_PAGEURL"))] {
        ingest.record_sent(task.id, earlier, late).await.unwrap();
        assert_eq!(store.tasks(&[task.id]).await.unwrap()[0].status, Status::Submitting);
    }
    ingest.record_sent(task.id, task.sent_at, Sent::Unsent).await.unwrap();
    assert_eq!(store.tasks(&[task.id]).await.unwrap()[0].status, Status::Queued);
}

#[tokio::test]
async fn a_captcha_id_that_is_recorded_twice_brings_credit_once() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, writer) = idle_writer(&folder).await;
    let (store, account) = (writer.store.clone(), writer.account.clone());
    tokio::spawn(writer.run());
    for _ in 0..100 {
        ingest.pay(0).await.unwrap();
    }
    let task = claimed(&ingest).await;
    let sent = Sent::Accepted { captcha_id: "71".parse().unwrap(), at: Timestamp::now(), ask_at: None };
    for _ in 0..2 {
        ingest.record_sent(task.id, task.sent_at, sent.clone()).await.unwrap();
    }
    assert_eq!(store.credit(&account).await.unwrap().calls.level(), 1200 - 100 + 20);
}

//! Replicas that are well.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{sleep, timeout};

use super::fleet::{Fleet, REPLICAS, say};
use crate::database::cluster::{Durability, Shutdown};
use crate::harness::{PATIENCE, reply};
use crate::process::serve;

impl Fleet {
    /// Submits a text captcha at a replica; its id.
    async fn submit(&self, index: usize, text: &str) -> String {
        let body = json!({"type": "text", "textcaptcha": text});
        let (status, task) = reply(self.http.post(self.api(index, "/v1/tasks")).json(&body)).await;
        assert_eq!(status, 201, "{task}");
        task["id"].as_str().unwrap().to_owned()
    }

    /// The captcha ID of a task, once the provider has taken it.
    async fn captcha_id(&self, index: usize, task: &str) -> String {
        let taken = async {
            loop {
                if let Some(captcha_id) = self.taken(index, task).await {
                    return captcha_id;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, taken).await.expect("it is taken")
    }
}

/// A caller at one replica, its pingback at another, its task made at a third.
async fn answered_elsewhere(fleet: &Fleet) {
    let task = fleet.submit(0, "across").await;
    let captcha_id = fleet.captcha_id(1, &task).await;
    // Longer than anybody here has patience: only who is woken gets an answer.
    let path = format!("/v1/tasks/{task}?wait=120");
    let waiting = fleet.get(2, &path);
    let answering = async {
        // The caller may have to be there first for this to mean anything; if it is not, it just reads.
        sleep(Duration::from_millis(200)).await;
        fleet.pingback(1, &captcha_id, "Friday").await
    };
    let (task, status) = tokio::join!(waiting, answering);
    assert_eq!(status.unwrap(), 200);
    assert_eq!(task.unwrap()["answer"]["text"], "Friday");
}

#[tokio::test]
async fn whoever_waits_is_woken_whichever_replica_gets_the_pingback() {
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    answered_elsewhere(&fleet).await;
}

#[tokio::test]
async fn they_are_woken_too_where_replicas_do_not_hear_of_each_other() {
    let Some(fleet) = Fleet::start(Durability::Off, false).await else { return };
    answered_elsewhere(&fleet).await;
    let heard = fleet.get(0, "/readyz").await.unwrap();
    assert!(heard["replicas"].as_str().unwrap().contains("seen within a second"), "{heard}");
}

#[tokio::test]
async fn a_call_of_its_public_url_may_reach_any_replica() {
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    // It leads to the first.
    for index in 0..REPLICAS {
        let (_, found) = reply(fleet.http.post(fleet.api(index, "/v1/checks"))).await;
        assert_eq!(
            (&found["public_url"]["state"], &found["disk"]),
            (&json!("reached"), &Value::Null),
            "{found}"
        );
    }
}

#[tokio::test]
async fn a_key_names_one_task_at_every_replica() {
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    let mut ids = Vec::new();
    for index in 0..REPLICAS {
        let body = json!({"type": "text", "textcaptcha": "once"});
        let request =
            fleet.http.post(fleet.api(index, "/v1/tasks")).header("Idempotency-Key", "k").json(&body);
        ids.push(reply(request).await.1["id"].clone());
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    fleet.captcha_id(0, ids[0].as_str().unwrap()).await;
    assert_eq!(fleet.submissions().len(), 1);
}

#[tokio::test]
async fn submissions_of_all_replicas_are_the_interval_apart() {
    const EACH: usize = 12;
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    let mut tasks = Vec::new();
    for number in 0..EACH {
        for replica in 0..REPLICAS {
            tasks.push((replica, fleet.submit(replica, &format!("{number} at {replica}")).await));
        }
    }
    for (replica, task) in &tasks {
        fleet.captcha_id(*replica, task).await;
    }
    let starts: Vec<_> =
        fleet.submissions().iter().map(|request| request["at_us"].as_i64().unwrap()).collect();
    assert_eq!(starts.len(), EACH * REPLICAS);
    let closest = starts.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    say(&format!("in.php: {} requests, the closest {closest} µs apart", starts.len()));
    // What is seen is arrival: on a busy machine two requests come closer together than they started.
    assert!(closest > 50_000, "{starts:?}");
}

#[tokio::test]
async fn one_replica_leads_and_when_it_is_killed_another_does() {
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    let first = fleet.leader().await;
    let leads = async |index| {
        let state: Value = fleet.get(index, "/readyz").await.unwrap();
        state["replicas"].as_str().unwrap().starts_with("this one leads")
    };
    for index in (0..REPLICAS).filter(|index| *index != first) {
        assert!(!leads(index).await);
    }
    fleet.kill(first);
    let second = fleet.leader().await;
    assert_ne!(first, second);
    let task = fleet.submit(second, "after the crash").await;
    fleet.captcha_id(second, &task).await;
    // The one that comes back does not take it away.
    fleet.launch(first).await;
    assert!(!leads(first).await);
}

#[tokio::test]
async fn one_that_ends_in_order_leaves_the_lead_at_once() {
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    let first = fleet.leader().await;
    fleet.end(first).await;
    let started = std::time::Instant::now();
    fleet.leader().await;
    // Not a matter of speed: a lease that was not given up lasts for 3 s.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_pause_that_one_finds_out_holds_at_all() {
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    let leader = fleet.leader().await;
    let other = (leader + 1) % REPLICAS;
    fleet.refuse_with("ERROR_ZERO_BALANCE");
    fleet.submit(other, "without money").await;
    let held = async {
        loop {
            let account = fleet.get(other, "/v1/account").await.unwrap();
            if account["backoff"]["in_php"]["code"] == "ERROR_ZERO_BALANCE" {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, held).await.expect("it is known there");
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_acknowledged_and_then_all_is_well_again() {
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    fleet.cluster.stop(Shutdown::Immediate).await;
    assert_eq!(fleet.pingback(0, "71", "lost?").await.unwrap(), 503);
    assert!(fleet.get(1, "/readyz").await.is_none(), "it is not ready");
    // It has been away for long: who comes now hears at once.
    assert_eq!(fleet.pingback(0, "71", "lost?").await.unwrap(), 503);
    fleet.cluster.start_again().await;
    let healed = async {
        for index in 0..REPLICAS {
            while fleet.pingback(index, "72", "kept").await.unwrap() != 200 {
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    timeout(PATIENCE, healed).await.expect("it heals by itself");
    answered_elsewhere(&fleet).await;
}

impl Fleet {
    /// Changes the database as another version's command line would.
    async fn execute(&self, sql: &'static str) {
        let mut database = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query(sql).execute(&mut database).await.unwrap();
    }

    async fn status_with(&self, index: usize, token: &str) -> StatusCode {
        let request = self.http.get(self.api(index, "/v1/tasks")).bearer_auth(token);
        request.send().await.unwrap().status()
    }

    async fn until_status_with(&self, token: &str, status: StatusCode) {
        let all = async {
            for index in 0..REPLICAS {
                while self.status_with(index, token).await != status {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        timeout(PATIENCE, all).await.expect("every replica knows");
    }
}

#[tokio::test]
async fn a_token_counts_and_is_revoked_at_every_replica() {
    // The SHA-256 of "s3cret".
    const ADD: &str = "INSERT INTO token (name, digest, scopes, created_at) VALUES ('t',
        decode('1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0', 'hex'), 'read', 1)";
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    fleet.execute(ADD).await;
    fleet.until_status_with("s3cret", StatusCode::OK).await;
    // From the first token on nobody comes in without one.
    fleet.until_status_with("wrong", StatusCode::UNAUTHORIZED).await;
    let request = fleet.http.get(fleet.api(1, "/v1/events")).header("Accept", "text/event-stream");
    let mut stream = request.bearer_auth("s3cret").send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());

    fleet.execute("DELETE FROM token").await;
    fleet.until_status_with("s3cret", StatusCode::UNAUTHORIZED).await;
    let ended = async { while let Ok(Some(_)) = stream.chunk().await {} };
    timeout(PATIENCE, ended).await.expect("its stream ends");
}

#[tokio::test]
async fn a_message_is_sent_by_one_replica() {
    const MESSAGES: usize = 40;
    let Some(fleet) = Fleet::start(Durability::Off, true).await else { return };
    let (heard, mut messages) = tokio::sync::mpsc::unbounded_channel();
    let receive = async move |headers: axum::http::HeaderMap| {
        heard.send(headers["webhook-id"].to_str().unwrap().to_owned()).unwrap();
    };
    let receiver = serve(axum::Router::new().route("/", axum::routing::post(receive))).await;
    let subscription = json!({"url": format!("{receiver}/"), "types": ["task.created"]});
    let (status, webhook) = reply(fleet.http.post(fleet.api(0, "/v1/webhooks")).json(&subscription)).await;
    assert_eq!(status, 201, "{webhook}");
    for index in 0..MESSAGES {
        fleet.submit(index % REPLICAS, "told").await;
    }
    let mut ids = Vec::new();
    while ids.len() < MESSAGES {
        ids.push(timeout(PATIENCE, messages.recv()).await.expect("all are sent").unwrap());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), MESSAGES, "each by one");
}

//! Both databases do what the documentation of the store promises: the same random operations on SQLite, on
//! PostgreSQL and on plain collections come to the same.

mod choice;
mod compare;
mod compare_deliveries;
mod compare_events;
mod compare_tasks;
mod ids;
mod model;
mod on_model;
mod on_model_rest;
mod on_model_tasks;
mod on_store;
mod on_store_rest;
mod operation;
mod retirement;
mod sequence;
mod words;

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::testing::postgres;
use super::{Server, Store};
use crate::model::{Secret, Timestamp};
use choice::steps;
use compare::{Reading, differ};
use ids::{Ids, failed};
use model::Model;
use on_store::Turn;
use operation::{Operation, Step};

/// 10,000 steps in all.
const CASES: u32 = 20;
const STEPS: usize = 500;
/// What proptest does where `PROPTEST_CASES` does not say.
const UNASKED: u32 = 256;
/// After so many steps everything is read.
const READ_EVERY: usize = 50;
const START: i64 = 100 * model::DAY;

/// A store beside the model.
struct Side {
    name: &'static str,
    store: Store,
    ids: Ids,
}

/// The stores, and what they should hold.
struct Bench {
    model: Model,
    sides: Vec<Side>,
    /// In milliseconds.
    clock: i64,
    /// How often everything was read.
    reads: usize,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(postgres: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sqlite =
            Store::open(&folder.path().join("test.db"), Timestamp::from_micros(START)).await.unwrap();
        forget(&sqlite).await;
        let ids = Ids { is_dense: true, ..Ids::default() };
        let mut sides = vec![Side { name: "SQLite", store: sqlite, ids }];
        if let Some(url) = postgres {
            // What reads little here seems to be much, where nothing counts the rows: compiling it would take longest.
            let url = format!("{url}{}options[jit]=off", if url.contains('?') { '&' } else { '?' });
            let server = Server { url: Secret::new(url), listen_url: None, pool_size: 1 };
            let store = Store::connect(&server).await.unwrap();
            sides.push(Side { name: "PostgreSQL", store, ids: Ids::default() });
        }
        Self { model: Model::new(), sides, clock: START / 1000, reads: 0, _folder: folder }
    }

    fn now(&self) -> Timestamp {
        // No two operations at the same time.
        let micros = i64::try_from(self.model.serial % 1000).unwrap();
        Timestamp::from_micros(self.clock * 1000 + micros)
    }

    async fn run(&mut self, steps: &[Step]) -> Result<(), String> {
        // Those who own something.
        let owners = Step { advance: 0, operations: vec![Operation::AddToken(0); 3], is_kept: true };
        self.step(&owners).await?;
        for (at, step) in steps.iter().enumerate() {
            self.clock += step.advance;
            self.step(step).await.map_err(|error| format!("step {at}, {error}"))?;
            if (at + 1) % READ_EVERY == 0 || at + 1 == steps.len() {
                self.read().await.map_err(|error| format!("after step {at}, {error}"))?;
            }
        }
        Ok(())
    }

    /// One transaction on each store; whether it counts or not.
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let before = (!step.is_kept).then(|| self.model.clone());
        let mut turns = Vec::new();
        for side in &mut self.sides {
            let mark = side.ids.mark();
            turns.push((side.name, side.store.writing().await, &mut side.ids, mark));
        }
        let mut open = Vec::new();
        for (name, writing, ids, mark) in &mut turns {
            open.push((*name, writing.begin().await.map_err(failed)?, &mut **ids, *mark));
        }
        for operation in &step.operations {
            let micros = i64::try_from(self.model.serial % 1000).unwrap();
            let now = Timestamp::from_micros(self.clock * 1000 + micros);
            let mut found = Vec::new();
            for (name, tx, ids, _) in &mut open {
                let mut turn = Turn { tx, ids, model: &self.model, now };
                let outcome = turn.perform(operation).await;
                found.push(outcome.map_err(|error| format!("{name}, {operation:?}: {error}"))?);
            }
            let expected = self.model.perform(operation, now);
            for ((name, tx, ids, _), found) in open.iter_mut().zip(found) {
                differ((&name, operation), &found, &expected)?;
                let learnt = ids.learn(tx, &self.model, now).await;
                learnt.map_err(|error| format!("{name}, {operation:?}: {error}"))?;
            }
        }
        for (_, tx, ids, mark) in open {
            if step.is_kept {
                tx.commit().await.map_err(failed)?;
            } else {
                drop(tx);
                ids.roll_back(mark);
            }
        }
        drop(turns);
        if let Some(before) = before {
            self.model = before;
            // The connection has gone with the transaction.
            for side in self.sides.iter().filter(|side| !side.store.is_shared()) {
                forget(&side.store).await;
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), String> {
        self.reads += 1;
        for Side { name, store, ids } in &self.sides {
            let turn = self.reads;
            let reading = Reading { store, ids, model: &self.model, now: self.now(), turn };
            reading.all().await.map_err(|error| format!("{name}, {error}"))?;
        }
        Ok(())
    }
}

/// Has SQLite not wait for the disk: nothing here outlives the process.
async fn forget(sqlite: &Store) {
    sqlite.writing().await.forget().await.unwrap();
}

/// Runs one sequence on new databases.
async fn compare(steps: &[Step], postgres: Option<&str>) -> Result<(), String> {
    let mut bench = Bench::new(postgres).await;
    let outcome = bench.run(steps).await;
    for side in &bench.sides {
        if side.name == "PostgreSQL" {
            side.store.reader.query("DROP SCHEMA public CASCADE").execute().await.unwrap();
            side.store.reader.query("CREATE SCHEMA public").execute().await.unwrap();
        }
        side.store.close().await;
    }
    outcome
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Half of the cases, because there are two of these.
fn half_of_them(postgres: Option<&str>) {
    let runtime = runtime();
    let asked = Some(ProptestConfig::default().cases).filter(|cases| *cases != UNASKED);
    let config = ProptestConfig {
        cases: asked.unwrap_or(CASES).div_ceil(2),
        max_shrink_time: 120_000,
        max_shrink_iters: u32::MAX,
        source_file: Some(file!()),
        test_name: Some(concat!(module_path!(), "::both_stores_do_what_the_model_does")),
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in steps(STEPS))| {
        runtime.block_on(compare(&steps, postgres)).map_err(TestCaseError::fail)?;
    });
}

#[test]
fn both_stores_do_what_the_model_does() {
    let runtime = runtime();
    let [first, second] = [(); 2].map(|()| runtime.block_on(postgres::database()));
    let other = std::thread::spawn(move || half_of_them(second.as_deref()));
    half_of_them(first.as_deref());
    other.join().expect("the other half agrees too");
}

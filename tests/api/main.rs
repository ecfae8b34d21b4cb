//! The service over real HTTP, against the emulated provider.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod answers;
mod backoff;
mod bad_input;
mod cli;
mod cli_client;
mod cli_doctor;
mod cli_solve;
mod compat;
mod contract;
mod copy;
mod crash;
mod dashboard;
#[path = "../support/stored.rs"]
mod database;
mod delivery;
mod dispatch;
mod docs;
mod events;
mod faults;
mod harness;
mod loops;
mod metrics;
mod money;
mod openapi;
mod owners;
mod per_task;
mod pingback;
mod postgres;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod program;
mod provider_run;
mod reconcile;
mod registration;
mod replicas;
mod requests;
mod scripted;
mod secrets;
mod selfcheck;
mod served;
mod shutdown;
mod submit;
mod tls;
mod tokens;
mod wait;
mod webhooks;

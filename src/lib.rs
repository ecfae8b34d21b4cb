//! pingbox receives the pingbacks of a captcha solving service, commits every answer to disk
//! before it says 200, and wakes the callers that wait for it.
//!
//! The modules, in the order in which data flows:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`model`] | the words of the trade: ids, time, tasks, captcha types, answers, error codes. No I/O |
//! | [`config`] | flags, environment and file, made into one checked [`config::Config`] |
//! | `http` | the two listeners: pingbacks come in, callers submit and wait |
//! | `ingest` | the one writer: many waiting writes, one transaction, a reply to each |
//! | `store` | the database; the only place with SQL |
//! | `waiters` | who waits for which task |
//! | `dispatcher` | sends queued tasks to the provider |
//! | `provider` | the client of `in.php` and `res.php`, and the registration of our URL |
//! | `reconciler` | tasks whose answer never came |
//! | `retention` | forgets what is old |
//! | [`sandbox`] | the emulated provider |
//! | [`app`] | builds all of it, runs it, ends it |
//! | [`cli`] | the command line, over `client` where it talks to a running server |

pub mod app;
pub mod cli;
mod client;
pub mod config;
mod dispatcher;
mod http;
mod ingest;
pub mod model;
mod provider;
mod reconciler;
mod retention;
pub mod sandbox;
pub mod shutdown;
mod store;
pub mod telemetry;
mod waiters;

//! pingbox receives the pingbacks of a captcha solving service, commits every answer to disk
//! before it says 200, and wakes the callers that wait for it.
//!
//! The modules, in the order in which data flows:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`model`] | the words of the trade: ids, time, tasks, captcha types, answers, error codes. No I/O |
//! | [`config`] | flags, environment and file, made into one checked [`config::Config`] |
//! | `tls` | what the listeners show of themselves: certificates from files or of our own CA |
//! | `http` | the two listeners: pingbacks come in, callers submit and wait |
//! | `dashboard` | the pages of the api listener, for people |
//! | `ingest` | the one writer: many waiting writes, one transaction, a reply to each |
//! | `store` | the database; the only place with SQL |
//! | `waiters` | who waits for which task, or for the answer to which captcha; `sync`: what it is made of |
//! | `feed` | the events, read while they grow |
//! | `counters` | figures that only grow, for metrics |
//! | `provider` | the client of `in.php` and `res.php` |
//! | `selfcheck` | calls the service by its public URL, looks at its disk |
//! | `account` | the only way to it: pauses, credit, the proof of the key |
//! | `replicas` | what those that share a database know of each other, and which of them leads |
//! | `dispatcher` | sends queued tasks to the provider |
//! | `registrar` | keeps our pingback URL registered |
//! | `reconciler` | asks for answers that did not come, ends tasks whose time is over |
//! | `reporter` | sends what callers think of their answers |
//! | `delivery` | tells receivers of callers how their tasks ended |
//! | `retention` | forgets what is old |
//! | [`sandbox`] | the emulated provider |
//! | [`app`] | builds all of it, runs it, ends it |
//! | [`cli`] | the command line, over `client` where it talks to a running server |

mod account;
pub mod app;
pub mod cli;
mod client;
pub mod config;
mod counters;
mod dashboard;
mod delivery;
mod dispatcher;
mod feed;
#[cfg(test)]
mod fuzzing;
mod http;
mod ingest;
pub mod model;
mod provider;
mod reconciler;
mod registrar;
mod replicas;
mod reporter;
mod retention;
pub mod sandbox;
mod selfcheck;
pub mod shutdown;
mod store;
mod sync;
pub mod telemetry;
mod tls;
mod waiters;

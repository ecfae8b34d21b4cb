//! The pages for people: who is let in, what they see, and what a browser is kept from.

mod forms;
mod pages;
mod person;
mod sessions;
mod steps;
mod tasks;

//! Which of several values counts.

use super::*;

const FILE: &str = "[api]\nmax_wait = '10s'";
const VARIABLE: (&str, &str) = ("PINGBOX_API__MAX_WAIT", "20s");

#[test]
fn a_flag_counts_before_the_environment() {
    let sources = with_flag(env(&[VARIABLE]), "api.max_wait", "30s");
    assert_eq!(load(&sources).api.max_wait, Duration::from_secs(30));
}

#[test]
fn the_environment_counts_before_the_file() {
    let sources = with_env(file(FILE), &[VARIABLE]);
    assert_eq!(load(&sources).api.max_wait, Duration::from_secs(20));
}

#[test]
fn the_file_counts_before_the_default() {
    assert_eq!(load(&file(FILE)).api.max_wait, Duration::from_secs(10));
    assert_eq!(load(&file("")).api.max_wait, Duration::from_mins(5));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let sources = with_env(file(FILE), &[("PINGBOX_API__MAX_WAIT", "")]);
    assert_eq!(load(&sources).api.max_wait, Duration::from_secs(10));
}

#[test]
fn an_empty_variable_empties_a_list() {
    let sources = file("[public]\nallow_from = ['10.0.0.0/8']");
    assert_eq!(load(&sources).public.allow_from.len(), 1);
    let sources = with_env(sources, &[("PINGBOX_PUBLIC__ALLOW_FROM", "")]);
    assert_eq!(load(&sources).public.allow_from, []);
}

#[test]
fn variables_of_others_are_ignored() {
    load(&env(&[
        ("PINGBOX_PORT", "tcp://10.0.0.1:80"),
        ("PINGBOX_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("PINGBOX_TOKEN", "x"),
        ("PATH__X", "y"),
    ]));
}

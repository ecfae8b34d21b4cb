//! Says when the system's clock was set: the times that the service shows are others for a while.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::model::ClockStep;

/// How often both clocks are compared.
const INTERVAL: Duration = Duration::from_secs(10);

/// Compares them until `shutdown`; each step is told of once, and that it is over.
pub(super) async fn watch(shutdown: CancellationToken) {
    let mut told = None;
    loop {
        let seen = ClockStep::seen();
        if let Some(text) = news(told, seen) {
            if seen.is_some() {
                warn!("{text}");
            } else {
                info!("{text}");
            }
            told = seen;
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}

/// What there is to say of what is seen, after what was `told`. That it becomes less by and by is nothing new.
fn news(told: Option<ClockStep>, seen: Option<ClockStep>) -> Option<String> {
    let (by, is_ahead) = match (told, seen) {
        (None, None) => return None,
        (Some(_), None) => return Some("The service shows the time of the system's clock again".to_owned()),
        (Some(ClockStep::Forward(told)), Some(ClockStep::Forward(seen))) if seen <= told => return None,
        (Some(ClockStep::Back(told)), Some(ClockStep::Back(seen))) if seen <= told => return None,
        (_, Some(ClockStep::Forward(by))) => (by, true),
        (_, Some(ClockStep::Back(by))) => (by, false),
    };
    let (seconds, direction) = (by.as_secs(), if is_ahead { "forward" } else { "back" });
    Some(format!(
        "The system's clock was set {direction}: it is {seconds} s off the time that tasks and waits go by. That \
         follows by 1 s in 100 s, so that no wait ends early or late; a restart takes over the new time at once"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_of_once_and_that_it_is_over() {
        let forward = |seconds| Some(ClockStep::Forward(Duration::from_secs(seconds)));
        let back = |seconds| Some(ClockStep::Back(Duration::from_secs(seconds)));
        for (told, seen, expected) in [
            (None, None, None),
            (None, forward(3600), Some("forward: it is 3600 s off")),
            (forward(3600), forward(3599), None),
            (forward(3600), forward(9000), Some("forward: it is 9000 s off")),
            (forward(3600), back(60), Some("back: it is 60 s off")),
            (back(60), back(59), None),
            (back(60), None, Some("again")),
        ] {
            let news = news(told, seen);
            assert_eq!(news.is_some(), expected.is_some(), "{told:?} {seen:?}");
            assert!(news.unwrap_or_default().contains(expected.unwrap_or_default()), "{told:?} {seen:?}");
        }
    }
}

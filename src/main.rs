//! The `pingbox` program: reads its arguments and does what they say.

use std::process::ExitCode;

use pingbox::cli::Cli;
use tokio::runtime;

/// Gives back what a burst of connections took within some 10 s, where glibc's keeps it for ever, and needs less for
/// each caller that waits.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::from_process();
    let done = runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    let done = done.and_then(|runtime| {
        let done = runtime.block_on(cli.run());
        // A name that is still being looked up must not hold up the end.
        runtime.shutdown_background();
        done
    });
    done.unwrap_or_else(|error| {
        explain(&error);
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
fn explain(error: &anyhow::Error) {
    eprintln!("pingbox: {error:#}");
}

//! `pingbox completions`: what a shell needs to complete its command lines.

use clap::Args;
use clap_complete::Shell;

use super::{Cli, print};

const HELP: &str = "bash:  pingbox completions bash > ~/.local/share/bash-completion/completions/pingbox
zsh:   pingbox completions zsh > a file _pingbox in a folder of $fpath
fish:  pingbox completions fish > ~/.config/fish/completions/pingbox.fish";

/// The arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command_line(), "pingbox", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

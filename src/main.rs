//! pg2etcd: the daemon and its commands.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use pg2etcd::cli::{self, Action, Invocation, Request};
use pg2etcd::commands::drop::Extent;
use pg2etcd::commands::{self, check, output, status};
use pg2etcd::daemon::{self, Sources};
use pg2etcd::logging;

/// Trouble, as diff(1) has it: 0 is yes, 1 is no.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    request().and_then(carry_out).unwrap_or_else(|message| {
        output::note(message);
        ExitCode::from(TROUBLE)
    })
}

fn request() -> Result<Request, String> {
    let arguments: Result<Vec<String>, _> =
        env::args_os().skip(1).map(OsString::into_string).collect();
    let arguments = arguments.map_err(|word| format!("{} is not UTF-8", word.display()))?;
    cli::parse(&arguments).map_err(|problem| format!("{problem}; see pg2etcd -h"))
}

fn carry_out(request: Request) -> Result<ExitCode, String> {
    match request {
        Request::Help(command) => print(&cli::help(command)),
        Request::Version => print(concat!("pg2etcd ", env!("CARGO_PKG_VERSION"), "\n")),
        Request::Command(invocation) => command(&invocation),
    }
}

fn command(invocation: &Invocation) -> Result<ExitCode, String> {
    let Invocation { action, file, options, verbosity, arguments, .. } = invocation;
    let sources = Sources {
        file: file.as_ref().map(PathBuf::from),
        options: options.clone(),
        environment: env::vars_os().collect(),
        verbosity: *verbosity,
    };
    let loaded = sources.load().map_err(|error| error.to_string())?;
    let settings = &loaded.settings;
    // A command's own output is enough, unless something is wrong.
    let level = if *action == Action::Run { &settings.log_level } else { "warn" };
    logging::start(level, *verbosity).map_err(|error| error.to_string())?;
    for warning in loaded.warnings() {
        log::warn!("{warning}");
    }
    let has = |short| invocation.has(short);
    let yes = match action {
        // The log has said why.
        Action::Run => {
            let ended = daemon::run(sources, loaded);
            return Ok(ended.map_or(ExitCode::from(TROUBLE), |()| ExitCode::SUCCESS));
        }
        Action::Config => return print(&commands::config::to_toml(&loaded)),
        Action::Check => check::run(settings, check::Form { json: has("j"), quiet: has("q") }),
        Action::Status => status::run(settings, status::Form { json: has("j"), watch: has("w") }),
        Action::Verify => commands::verify::run(settings, arguments),
        Action::Wait => commands::wait::run(settings, arguments, invocation.value("t")),
        Action::Resync => commands::resync::run(settings, arguments).map(|()| true),
        Action::Drop => {
            let (force, keys, dry_run) = (has("f"), has("k"), has("n"));
            commands::drop::run(settings, Extent { force, keys, dry_run }).map(|()| true)
        }
        // The command line has no such request.
        Action::Help => return print(&cli::help(None)),
    };
    yes.map(|yes| ExitCode::from(u8::from(!yes))).map_err(|error| error.to_string())
}

fn print(text: &str) -> Result<ExitCode, String> {
    output::print(text).map(|_| ExitCode::SUCCESS).map_err(|error| error.to_string())
}

//! pg2etcd: the daemon and its commands.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use pg2etcd::cli::{self, Action, Invocation, Request};
use pg2etcd::commands::drop::Extent;
use pg2etcd::commands::{self, check, output, status};
use pg2etcd::config::{self, Settings};
use pg2etcd::error::Error;
use pg2etcd::logging;
use pg2etcd::stop::Stop;
use pg2etcd::supervisor;

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
    let environment = env::vars_os().collect();
    let loaded = config::load(file.as_deref().map(Path::new), options, &environment)
        .map_err(|error| error.to_string())?;
    let settings = &loaded.settings;
    // A command's own output is enough, unless something is wrong.
    let level = if *action == Action::Run { &settings.log_level } else { "warn" };
    logging::start(level, *verbosity).map_err(|error| error.to_string())?;
    for warning in loaded.warnings() {
        log::warn!("{warning}");
    }
    let has = |short| invocation.has(short);
    let yes = match action {
        Action::Run => return run(settings),
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

/// Runs the daemon. The log says what it sets out to do, and last why it ends.
fn run(settings: &Settings) -> Result<ExitCode, String> {
    let stop = Stop::on_signals().map_err(|error| format!("cannot handle signals: {error}"))?;
    for line in plan(settings) {
        log::info!("{line}");
    }
    match supervisor::run(settings, &stop) {
        Ok(()) | Err(Error::Stopped) => {
            let by = stop.signal().map(|signal| format!(" by {signal}"));
            log::info!("Stopped{}", by.unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            log::error!("Cannot go on: {error}");
            Ok(ExitCode::from(TROUBLE))
        }
    }
}

/// What is copied from where to where.
fn plan(settings: &Settings) -> [String; 3] {
    let Settings { database, etcd, sync, .. } = settings;
    let hosts: Vec<_> = database.hosts().iter().map(ToString::to_string).collect();
    [
        format!("pg2etcd {}, process {}", env!("CARGO_PKG_VERSION"), std::process::id()),
        format!(
            "Source: PostgreSQL database={} hosts={} user={} slot={} publication={}",
            database.name,
            hosts.join(","),
            database.user,
            sync.slot,
            sync.publication
        ),
        format!(
            "Target: etcd endpoints={} path=/{}/ state_path=/{}/",
            etcd.endpoints.join(","),
            etcd.path,
            etcd.state_path
        ),
    ]
}

fn print(text: &str) -> Result<ExitCode, String> {
    output::print(text).map(|_| ExitCode::SUCCESS).map_err(|error| error.to_string())
}

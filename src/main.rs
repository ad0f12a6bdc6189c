//! pg2etcd: the daemon and its commands.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use pg2etcd::cli::{self, Action, Invocation, Request};
use pg2etcd::commands;
use pg2etcd::config::{self, Loaded};
use pg2etcd::error::Error;
use pg2etcd::logging;
use pg2etcd::stop::Stop;
use pg2etcd::supervisor;

/// Trouble, as diff(1) has it: 0 is yes, 1 is no.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    request().and_then(carry_out).unwrap_or_else(|message| {
        // When nobody reads standard error there is nobody to tell.
        _ = writeln!(io::stderr(), "pg2etcd: {message}");
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
        Request::Help => print(&cli::help()),
        Request::Version => print(concat!("pg2etcd ", env!("CARGO_PKG_VERSION"), "\n")),
        Request::Command(invocation) => command(&invocation),
    }
}

fn command(invocation: &Invocation) -> Result<ExitCode, String> {
    let Invocation { action, file, options, verbosity, arguments, .. } = invocation;
    let environment = env::vars_os().collect();
    let loaded = config::load(file.as_deref().map(Path::new), options, &environment)
        .map_err(|error| error.to_string())?;
    match action {
        Action::Check => check(&loaded.settings, invocation.has("j")),
        Action::Resync => commands::resync::run(&loaded.settings, arguments)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| error.to_string()),
        Action::Config => print(&commands::config::to_toml(&loaded)),
        Action::Run => run(&loaded, *verbosity),
    }
}

/// Prints what both servers lack: 0 is nothing, 1 something.
fn check(settings: &Settings, json: bool) -> Result<ExitCode, String> {
    let report = commands::check::run(settings).map_err(|error| error.to_string())?;
    print(&if json { report.to_json() } else { report.to_string() })?;
    Ok(ExitCode::from(u8::from(!report.holds())))
}

/// Runs the daemon. What ends it is in the log, where the rest of its life is.
fn run(loaded: &Loaded, verbosity: usize) -> Result<ExitCode, String> {
    let settings = &loaded.settings;
    logging::start(&settings.log_level, verbosity).map_err(|error| error.to_string())?;
    for warning in loaded.warnings() {
        log::warn!("{warning}");
    }
    let stop = Stop::on_signals().map_err(|error| format!("cannot handle signals: {error}"))?;
    match supervisor::run(settings, &stop) {
        Ok(()) | Err(Error::Stopped) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            log::error!("{error}");
            Ok(ExitCode::from(TROUBLE))
        }
    }
}

/// Prints a command's output. A reader that has seen enough, as head(1), is no error.
fn print(text: &str) -> Result<ExitCode, String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

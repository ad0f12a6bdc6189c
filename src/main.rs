//! pg2etcd: the daemon and its commands.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use pg2etcd::cli::{self, Action, Invocation, Request};
use pg2etcd::commands::{self, output};
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
        Action::Check => commands::check::run(settings, has("j")),
        Action::Status => commands::status::run(settings, has("j")),
        Action::Verify => commands::verify::run(settings, arguments),
        Action::Wait => commands::wait::run(settings, arguments, invocation.value("t")),
        Action::Resync => commands::resync::run(settings, arguments).map(|()| true),
        Action::Drop => commands::drop::run(settings, has("f"), has("k")).map(|()| true),
    };
    yes.map(|yes| ExitCode::from(u8::from(!yes))).map_err(|error| error.to_string())
}

/// Runs the daemon. What ends it is in the log, where the rest of its life is.
fn run(settings: &Settings) -> Result<ExitCode, String> {
    let stop = Stop::on_signals().map_err(|error| format!("cannot handle signals: {error}"))?;
    match supervisor::run(settings, &stop) {
        Ok(()) | Err(Error::Stopped) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            log::error!("{error}");
            Ok(ExitCode::from(TROUBLE))
        }
    }
}

fn print(text: &str) -> Result<ExitCode, String> {
    output::print(text).map(|_| ExitCode::SUCCESS).map_err(|error| error.to_string())
}

//! The command `ibex`.

mod arrays;
mod check;
mod model;
mod plot;
mod profile;
mod tune;

use std::ffi::OsString;
use std::process::ExitCode;

/// A command: its usage, which begins with its name, and what it does.
struct Command {
    usage: &'static str,
    run: fn(lexopt::Parser) -> Result<bool, Failure>,
}

impl Command {
    fn name(&self) -> &'static str {
        self.usage.split_whitespace().next().unwrap_or_default()
    }
}

const COMMANDS: [Command; 11] = [
    Command { usage: DEVICES, run: devices },
    Command { usage: model::SUMMARY, run: model::summary },
    Command { usage: model::PREDICT, run: model::predict },
    Command { usage: model::EVALUATE, run: model::evaluate },
    Command { usage: model::TRAIN, run: model::train },
    Command { usage: model::CONVERT, run: model::convert },
    Command { usage: plot::USAGE, run: plot::run },
    Command { usage: check::USAGE, run: check::run },
    Command { usage: ibex_bench::USAGE, run: bench },
    Command { usage: profile::USAGE, run: profile::run },
    Command { usage: tune::USAGE, run: tune::run },
];

const DEVICES: &str = "devices
    the devices of this machine, and which one is the default";

/// Why a command did not do its work.
enum Failure {
    /// Its arguments make no sense.
    Usage(String),
    Error(ibex::Error),
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        Failure::Usage(error.to_string())
    }
}

impl From<ibex::Error> for Failure {
    fn from(error: ibex::Error) -> Failure {
        Failure::Error(error)
    }
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (name, args) = match args.split_first() {
        Some((name, args)) => (name.to_string_lossy(), args),
        None => ("".into(), &args[..]),
    };
    let known = |name: &str| COMMANDS.iter().find(|command| command.name() == name);
    match &*name {
        "--version" | "-V" => println!("ibex {}", env!("CARGO_PKG_VERSION")),
        "help" | "--help" | "-h" => match args.first().map(|name| name.to_string_lossy()) {
            None => println!("usage: ibex <command>\n\n  {}", COMMANDS.map(|command| command.usage).join("\n\n  ")),
            Some(name) => match known(&name) {
                Some(command) => println!("usage: ibex {}", command.usage),
                None => return no_command(&name),
            },
        },
        name => match known(name) {
            Some(command) => return run(command, args),
            None => return no_command(name),
        },
    }
    ExitCode::SUCCESS
}

/// Runs a command. Where its arguments make no sense, what is wrong comes after the usage, where it is seen.
fn run(command: &Command, args: &[OsString]) -> ExitCode {
    if args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h") {
        println!("usage: ibex {}", command.usage);
        return ExitCode::SUCCESS;
    }
    match (command.run)(lexopt::Parser::from_args(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Error(error)) => {
            // A line of this program says nothing to who runs it.
            let (text, place) = (error.to_string(), error.site().map(|site| format!(" (at {site})")));
            eprintln!("ibex: {}", place.and_then(|place| text.strip_suffix(&place)).unwrap_or(&text));
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprintln!("usage: ibex {}\n\nibex: {message}", command.usage);
            ExitCode::from(2)
        }
    }
}

fn no_command(name: &str) -> ExitCode {
    let message = if name.is_empty() { "which command?".into() } else { format!("no command {name:?}") };
    let names = COMMANDS.map(|command| command.name()).join(", ");
    eprintln!("usage: ibex <command>\n    {names}\n    `ibex help` tells what they do\n\nibex: {message}");
    ExitCode::from(2)
}

fn devices(mut args: lexopt::Parser) -> Result<bool, Failure> {
    if let Some(arg) = args.next()? {
        return Err(arg.unexpected().into());
    }
    let default = ibex::default_device()?.info();
    for device in ibex::devices() {
        let mark = if device.id == default.id { "  (default)" } else { "" };
        println!("{}: {}{mark}\n    {}", device.id, device.name, device.details);
    }
    Ok(true)
}

fn bench(args: lexopt::Parser) -> Result<bool, Failure> {
    Ok(ibex_bench::run(&ibex_bench::Options::parse(args)?)?)
}

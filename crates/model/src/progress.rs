//! The progress line of `fit`, as Keras prints it.

use crate::callbacks::Logs;
use std::io::{IsTerminal, Write};

const WIDTH: usize = 20;
const BETWEEN: f64 = 0.05;

/// One epoch's line on standard output: a bar that is written over in a terminal; where that is a file, a line at the end.
pub(crate) struct Progress {
    verbose: u8,
    /// The number of steps, if it is known.
    target: Option<usize>,
    clock: Clock,
    /// When the first step was done: it may have compiled the program.
    first: Option<f64>,
    shown: Option<f64>,
    /// Columns that are to be overwritten.
    width: usize,
}

/// Seconds since the start; a browser has no such clock here.
struct Clock(#[cfg(not(target_arch = "wasm32"))] std::time::Instant);

impl Clock {
    fn start() -> Clock {
        Clock(
            #[cfg(not(target_arch = "wasm32"))]
            std::time::Instant::now(),
        )
    }

    fn seconds(&self) -> f64 {
        #[cfg(not(target_arch = "wasm32"))]
        return self.0.elapsed().as_secs_f64();
        #[cfg(target_arch = "wasm32")]
        0.0
    }
}

impl Progress {
    pub fn new(verbose: u8, target: Option<usize>) -> Progress {
        // A bar in a file would be nothing but control characters.
        let verbose = if verbose == 1 && !std::io::stdout().is_terminal() { 2 } else { verbose };
        Progress { verbose, target, clock: Clock::start(), first: None, shown: None, width: 0 }
    }

    /// The heading of an epoch.
    pub fn epoch(&self, epoch: usize, epochs: usize) {
        if self.verbose > 0 && epochs > 1 {
            print(&format!("Epoch {}/{epochs}\n", epoch + 1));
        }
    }

    /// Is it time to show step `current`? To be asked after every step.
    pub fn due(&mut self, current: usize) -> bool {
        self.verbose == 1 && self.due_at(current, self.clock.seconds())
    }

    fn due_at(&mut self, current: usize, now: f64) -> bool {
        if current == 1 {
            self.first = Some(now);
        }
        self.shown.is_none_or(|shown| now - shown >= BETWEEN)
    }

    /// Shows a step in between.
    pub fn show(&mut self, current: usize, logs: &Logs) {
        let text = self.bar(current, self.clock.seconds(), logs, false);
        print(&text);
    }

    /// Shows the end of the epoch, after so many steps.
    pub fn finish(&mut self, steps: usize, logs: &Logs) {
        let now = self.clock.seconds();
        self.target = Some(steps);
        match self.verbose {
            0 => {}
            1 => print(&self.bar(steps, now, logs, true)),
            _ => print(&self.line(steps, now, logs)),
        }
    }

    /// Seconds for a step. The first does not count where there are others.
    fn per_step(&self, current: usize, now: f64) -> f64 {
        match self.first {
            Some(first) if current > 1 => (now - first) / (current - 1) as f64,
            _ => now / current.max(1) as f64,
        }
    }

    fn line(&self, steps: usize, now: f64, logs: &Logs) -> String {
        // As in Keras, here every negative number has an exponent.
        let values = values(logs, |v| v > 1e-3);
        format!("{steps}/{steps} - {now:.0}s -{}{values}\n", each(self.per_step(steps, now)))
    }

    fn bar(&mut self, current: usize, now: f64, logs: &Logs, last: bool) -> String {
        self.shown = Some(now);
        let per_step = self.per_step(current, now);
        let (bar, columns) = match self.target.filter(|&target| target > 0) {
            Some(target) => {
                let count = format!("{current:>0$}/{target}", target.to_string().len());
                let done = (WIDTH as f64 * (current as f64 / target as f64)) as usize;
                let (green, white) = ("━".repeat(done), "━".repeat(WIDTH.saturating_sub(done)));
                let green = if done > 0 { format!("\x1b[32m{green}\x1b[0m") } else { green };
                (format!("\x1b[1m{count}\x1b[0m {green}\x1b[37m{white}\x1b[0m"), count.len() + 1 + WIDTH.max(done))
            }
            None => {
                let count = format!("{current:>7}/Unknown");
                let columns = count.len();
                (count, columns)
            }
        };
        let time = match self.target.filter(|_| !last) {
            Some(target) => duration(per_step * target.saturating_sub(current) as f64),
            None => format!("{now:.0}s"),
        };
        let rest = format!("{}{}", each(per_step), values(logs, |v| v.abs() > 1e-3));
        let back = "\x08".repeat(self.width);
        let width = columns + 1 + time.len() + rest.chars().count();
        let padding = " ".repeat(self.width.saturating_sub(width));
        self.width = width;
        format!("{back}\r{bar} \x1b[1m{time}\x1b[0m{rest}{padding}{}", if last { "\n" } else { "" })
    }
}

/// ` - accuracy: 0.9876 - loss: 0.0432`, validation after that, then what callbacks have added as they do in Keras.
fn values(logs: &Logs, plain: impl Fn(f64) -> bool) -> String {
    let mut all: Vec<_> = logs.iter().collect();
    all.sort_by_key(|(name, _)| (*name == "learning_rate", name.starts_with("val_")));
    all.into_iter().map(|(name, &value)| format!(" - {name}: {}", number(value, plain(value)))).collect()
}

/// Four decimals, or an exponent.
fn number(value: f64, plain: bool) -> String {
    match (value.is_finite(), plain) {
        (false, _) => format!("{value}").to_lowercase(),
        (true, true) => format!("{value:.4}"),
        (true, false) => python_exponent(&format!("{value:.4e}")),
    }
}

/// A number with an exponent as Python writes it: with a sign and at least two digits.
pub(crate) fn python_exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.into() };
    let sign = if exponent.starts_with('-') { '-' } else { '+' };
    format!("{mantissa}e{sign}{:0>2}", exponent.trim_start_matches('-'))
}

fn each(seconds: f64) -> String {
    if seconds >= 1.0 || seconds == 0.0 {
        format!(" {seconds:.0}s/step")
    } else if seconds >= 1e-3 {
        format!(" {:.0}ms/step", seconds * 1e3)
    } else {
        format!(" {:.0}us/step", seconds * 1e6)
    }
}

fn duration(seconds: f64) -> String {
    let s = seconds as u64;
    if seconds > 3600.0 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else if seconds > 60.0 {
        format!("{}:{:02}", s / 60, s % 60)
    } else {
        format!("{s}s")
    }
}

/// Progress is no reason to fail: a closed standard output is ignored.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A message during an epoch: in a terminal it goes below the bar, which has no end of line yet.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn say(text: &str) {
    let start = if std::io::stdout().is_terminal() { "\n" } else { "" };
    print(&format!("{start}{text}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        name: String,
        verbose: u8,
        target: Option<usize>,
        updates: Vec<Update>,
        /// The last one.
        finish: Update,
    }

    /// Step, seconds since the start, values, and what Keras wrote.
    type Update = (usize, f64, Vec<(String, f64)>, String);

    #[derive(Deserialize)]
    struct File {
        progress: Vec<Case>,
    }

    /// Byte for byte what Keras's bar writes at the same moments.
    #[test]
    fn bytes_of_keras() {
        let file: File = serde_json::from_str(include_str!("../tests/keras/callbacks.json")).expect("the fixture");
        assert!(file.progress.len() >= 8);
        for Case { name, verbose, target, updates, finish } in file.progress {
            let (clock, logs) = (Clock::start(), |values: Vec<(String, f64)>| values.into_iter().collect::<Logs>());
            let mut bar = Progress { verbose, target, clock, first: None, shown: None, width: 0 };
            for (step, now, values, want) in updates {
                let due = verbose == 1 && bar.due_at(step, now);
                let got = if due { bar.bar(step, now, &logs(values), false) } else { String::new() };
                assert_eq!(got, want, "{name}: step {step}");
            }
            let (steps, now, values, want) = finish;
            bar.target = Some(steps);
            let got = match verbose {
                1 => bar.bar(steps, now, &logs(values), true),
                _ => bar.line(steps, now, &logs(values)),
            };
            assert_eq!(got, want, "{name}: the end");
        }
    }
}

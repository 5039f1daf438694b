//! The progress line of `fit`, as Keras prints it.

use crate::callbacks::Logs;
use std::io::Write;

const WIDTH: usize = 20;
const BETWEEN: f64 = 0.05;

/// One epoch's line on standard output.
pub(crate) struct Progress {
    verbose: u8,
    /// The number of steps, if it is known.
    target: Option<usize>,
    started: Clock,
    shown: f64,
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
        Progress { verbose, target, started: Clock::start(), shown: -1.0, width: 0 }
    }

    /// The heading of an epoch.
    pub fn epoch(&self, epoch: usize, epochs: usize) {
        if self.verbose > 0 && epochs > 1 {
            print(&format!("Epoch {}/{epochs}\n", epoch + 1));
        }
    }

    /// Is it time to show step `current`?
    pub fn due(&self, current: usize) -> bool {
        self.verbose == 1 && self.target.is_none_or(|t| current < t) && self.started.seconds() - self.shown > BETWEEN
    }

    /// Shows a step in between.
    pub fn show(&mut self, current: usize, logs: &Logs) {
        self.shown = self.started.seconds();
        let per_step = self.shown / current as f64;
        // Without a target Keras shows the time so far.
        let seconds = self.target.map_or(self.shown, |target| per_step * (target - current) as f64);
        self.line(current, &duration(seconds), per_step, logs, "");
    }

    /// Shows the end of the epoch, after so many steps.
    pub fn finish(&mut self, steps: usize, logs: &Logs) {
        let seconds = self.started.seconds();
        let per_step = seconds / steps.max(1) as f64;
        self.target = Some(steps);
        match self.verbose {
            1 => self.line(steps, &format!("{seconds:.0}s"), per_step, logs, "\n"),
            2 => {
                let text = format!("{steps}/{steps} - {seconds:.0}s - {}{}\n", each(per_step), values(logs));
                print(&text);
            }
            _ => {}
        }
    }

    fn line(&mut self, current: usize, time: &str, per_step: f64, logs: &Logs, end: &str) {
        let rest = format!(" {}{}", each(per_step), values(logs));
        let (count, bar, columns) = match self.target {
            Some(target) => {
                let digits = target.to_string().len();
                let done = WIDTH * current / target.max(1);
                let part = |n: usize| "━".repeat(n);
                let bar = format!(" \x1b[32m{}\x1b[0m\x1b[37m{}\x1b[0m", part(done), part(WIDTH - done));
                (format!("{current:>digits$}/{target}"), bar, 1 + WIDTH)
            }
            None => (format!("{current:>7}/Unknown"), String::new(), 0),
        };
        let plain = count.len() + columns + 1 + time.len() + rest.chars().count();
        let padding = " ".repeat(self.width.saturating_sub(plain));
        self.width = plain;
        print(&format!("\r\x1b[1m{count}\x1b[0m{bar} \x1b[1m{time}\x1b[0m{rest}{padding}{end}"));
    }
}

/// ` - accuracy: 0.9876 - loss: 0.0432`, validation last.
fn values(logs: &Logs) -> String {
    let (validation, own): (Vec<_>, Vec<_>) = logs.iter().partition(|(name, _)| name.starts_with("val_"));
    own.into_iter().chain(validation).map(|(name, value)| format!(" - {name}: {}", number(*value))).collect()
}

/// Four decimals, or an exponent for small numbers.
fn number(value: f64) -> String {
    if value.abs() > 1e-3 || value == 0.0 {
        return format!("{value:.4}");
    }
    let text = format!("{value:.4e}");
    // Python writes at least two digits of the exponent, and its sign.
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        None => text,
    }
}

fn each(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.0}s/step")
    } else if seconds >= 1e-3 {
        format!("{:.0}ms/step", seconds * 1e3)
    } else {
        format!("{:.0}us/step", seconds * 1e6)
    }
}

fn duration(seconds: f64) -> String {
    let s = seconds as u64;
    match s {
        3600.. => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
        60.. => format!("{}:{:02}", s / 60, s % 60),
        _ => format!("{s}s"),
    }
}

/// Progress is no reason to fail: a closed standard output is ignored.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Keras prints them (keras-facts, section 6).
    #[test]
    fn numbers() {
        assert_eq!(number(0.28754), "0.2875");
        assert_eq!(number(0.00012345), "1.2345e-04");
        assert_eq!(number(-3.0), "-3.0000");
        assert_eq!(each(0.0341), "34ms/step");
        assert_eq!(duration(65.0), "1:05");
        assert_eq!(duration(3723.0), "1:02:03");
        assert_eq!(duration(12.9), "12s");
    }
}

//! The table that `summary` prints, in the form of Keras 3.

use super::{Sequential, batched};
use std::fmt::Write;

/// Widths of the three columns between their borders.
const COLUMNS: [usize; 3] = [33, 24, 15];

impl Sequential {
    /// A table of layers, output shapes and numbers of weights.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        // Writing to a string can not fail.
        let _ = self.write_summary(&mut out);
        out
    }

    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        let rule = |left: char, line: char, middle: char, right: char| {
            let parts = COLUMNS.map(|w| String::from(line).repeat(w));
            format!("{left}{}{right}", parts.join(&middle.to_string()))
        };
        let [a, b, c] = COLUMNS.map(|w| w - 2);
        let row = |cells: [String; 3], border: char| {
            let [name, shape, count] = cells;
            format!("{border} {name:<a$} {border} {shape:<b$} {border} {count:>c$} {border}")
        };
        writeln!(out, "Model: \"{}\"", self.name)?;
        writeln!(out, "{}", rule('┏', '━', '┳', '┓'))?;
        writeln!(out, "┃ {:<a$} ┃ {:<b$} ┃ {:>c$} ┃", "Layer (type)", "Output Shape", "Param #")?;
        writeln!(out, "{}", rule('┡', '━', '╇', '┩'))?;
        for (i, node) in self.nodes.iter().enumerate() {
            if i > 0 {
                writeln!(out, "{}", rule('├', '─', '┼', '┤'))?;
            }
            let params: usize = node.weights.iter().map(|w| w.variable.shape().elements()).sum();
            let name = wrapped(&format!("{} ({})", node.name, node.layer.class_name()), a);
            let shape = wrapped(&batched(&node.output), b);
            let count = wrapped(&grouped(params), c);
            for line in 0..name.len().max(shape.len()) {
                let cell = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
                writeln!(out, "{}", row([cell(&name), cell(&shape), cell(&count)], '│'))?;
            }
        }
        writeln!(out, "{}", rule('└', '─', '┴', '┘'))?;
        let count = |trainable: bool| -> usize {
            self.weights().filter(|w| w.trainable == trainable).map(|w| w.variable.shape().elements()).sum()
        };
        let (trainable, fixed) = (count(true), count(false));
        let optimizer = match &self.training {
            // The loss scale and its count of steps are variables too.
            Some(t) => {
                let kept: usize = t.state.variables().map(|v| v.shape().elements()).sum();
                kept + if t.scaling.is_some() { 2 } else { 0 }
            }
            None => 0,
        };
        let line = |label: &str, n: usize| format!(" {label}: {} ({})", grouped(n), bytes(4 * n));
        writeln!(out, "{}", line("Total params", trainable + fixed + optimizer))?;
        writeln!(out, "{}", line("Trainable params", trainable))?;
        write!(out, "{}", line("Non-trainable params", fixed))?;
        if optimizer > 0 {
            write!(out, "\n{}", line("Optimizer params", optimizer))?;
        }
        Ok(())
    }
}

/// In lines of a width, broken between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let last = lines.len() - 1;
            let used = lines[last].chars().count();
            let gap = usize::from(used > 0);
            if used + gap + rest.len() <= width {
                lines[last].extend(std::iter::repeat_n(' ', gap).chain(rest.drain(..)));
            } else if used > 0 {
                lines.push(String::new());
            } else {
                lines[last].extend(rest.drain(..width));
            }
        }
    }
    lines
}

/// `1,234,567`
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn bytes(n: usize) -> String {
    let mut scaled = n as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if scaled < 1024.0 || unit == "GB" {
            return format!("{scaled:.2} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{n} B")
}

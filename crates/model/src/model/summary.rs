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
        let row = |cells: [String; 3], border: char| {
            let [name, shape, count] = cells;
            let [a, b, c] = COLUMNS.map(|w| w - 2);
            format!("{border} {name:<a$} {border} {shape:<b$} {border} {count:>c$} {border}")
        };
        writeln!(out, "Model: \"{}\"", self.name)?;
        writeln!(out, "{}", rule('┏', '━', '┳', '┓'))?;
        let [a, b, c] = COLUMNS.map(|w| w - 2);
        writeln!(out, "┃ {:<a$} ┃ {:<b$} ┃ {:>c$} ┃", "Layer (type)", "Output Shape", "Param #")?;
        writeln!(out, "{}", rule('┡', '━', '╇', '┩'))?;
        for (i, node) in self.nodes.iter().enumerate() {
            if i > 0 {
                writeln!(out, "{}", rule('├', '─', '┼', '┤'))?;
            }
            let params: usize = node.weights.iter().map(|w| w.variable.shape().elements()).sum();
            let name = format!("{} ({})", node.name, node.layer.class_name());
            writeln!(out, "{}", row([fit(&name, a), fit(&batched(&node.output), b), grouped(params)], '│'))?;
        }
        writeln!(out, "{}", rule('└', '─', '┴', '┘'))?;
        let count = |trainable: bool| -> usize {
            self.weights().filter(|w| w.trainable == trainable).map(|w| w.variable.shape().elements()).sum()
        };
        let (trainable, fixed) = (count(true), count(false));
        let slots = self.training.iter().flat_map(|t| t.slots.iter().flatten());
        // The iteration count and the learning rate are variables too.
        let optimizer = match &self.training {
            Some(_) => slots.map(|s| s.shape().elements()).sum::<usize>() + 2,
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

/// Cut to a width.
fn fit(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some(_) => text.chars().take(width - 1).chain(['…']).collect(),
        None => text.to_string(),
    }
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

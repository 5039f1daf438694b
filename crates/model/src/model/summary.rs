//! The table that `summary` prints, in the form of Keras 3.

use super::{Model, batched};
use crate::graph::Source;
use std::fmt::Write;

/// Widths of the columns between their borders: of layers in a row, and of others, which show what they are connected to.
const ROW: [usize; 3] = [33, 24, 15];
const GRAPH: [usize; 4] = [21, 19, 12, 19];

impl Model {
    /// A table of layers, output shapes and numbers of weights, and for models that are no row of layers what each is connected to.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        // Writing to a string can not fail.
        let _ = self.write_summary(&mut out);
        out
    }

    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        let widths: &[usize] = if self.is_sequential() { &ROW } else { &GRAPH };
        let rule = |left: char, line: char, middle: char, right: char| {
            let parts: Vec<String> = widths.iter().map(|&w| String::from(line).repeat(w)).collect();
            format!("{left}{}{right}", parts.join(&middle.to_string()))
        };
        let row = |cells: &[&str], border: char| {
            let cell = |(i, (text, width)): (usize, (&&str, &usize))| match i {
                2 => format!("{text:>0$}", width - 2),
                _ => format!("{text:<0$}", width - 2),
            };
            let cells: Vec<String> = cells.iter().zip(widths).enumerate().map(cell).collect();
            format!("{border} {} {border}", cells.join(&format!(" {border} ")))
        };
        writeln!(out, "Model: \"{}\"", self.name)?;
        writeln!(out, "{}", rule('┏', '━', '┳', '┓'))?;
        let titles = ["Layer (type)", "Output Shape", "Param #", "Connected to"];
        writeln!(out, "{}", row(&titles[..widths.len()], '┃'))?;
        writeln!(out, "{}", rule('┡', '━', '╇', '┩'))?;
        for (i, cells) in self.rows_of_summary().into_iter().enumerate() {
            if i > 0 {
                writeln!(out, "{}", rule('├', '─', '┼', '┤'))?;
            }
            let lines: Vec<Vec<String>> = cells
                .iter()
                .zip(widths)
                .map(|(cell, width)| if self.is_sequential() { wrapped(cell, width - 2) } else { cut(cell, width - 2) })
                .collect();
            for line in 0..lines.iter().map(Vec::len).max().unwrap_or(0) {
                let cells: Vec<&str> = lines.iter().map(|l| l.get(line).map_or("", |l| l)).collect();
                writeln!(out, "{}", row(&cells, '│'))?;
            }
        }
        writeln!(out, "{}", rule('└', '─', '┴', '┘'))?;
        let count = |trainable: bool| -> usize {
            self.weights().filter(|w| w.trainable() == trainable).map(|w| w.variable.shape().elements()).sum()
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

    /// Name and class, shape, number of weights, connections. Inputs stand first, and not at all before layers in a row.
    fn rows_of_summary(&self) -> Vec<[String; 4]> {
        let inputs = self.inputs().iter().zip(self.input_names()).filter(|_| !self.is_sequential());
        let inputs = inputs
            .map(|(t, name)| [format!("{name} (InputLayer)"), batched(t.shape()), "0".to_string(), "-".to_string()]);
        let layers = self.layers().iter().map(|node| {
            let params: usize =
                node.weights().iter().filter(|w| !w.is_transient()).map(|w| w.variable.shape().elements()).sum();
            let sources = node.applications.iter().flat_map(|a| &a.from);
            let connected: Vec<String> = sources
                .map(|source| match *source {
                    Source::Input(i) => format!("{}[0][0]", self.input_names()[i]),
                    Source::Layer(layer, application, output) => {
                        format!("{}[{application}][{output}]", self.layers()[layer].name())
                    }
                })
                .collect();
            let title = format!("{} ({})", node.name(), node.layer().class_name());
            [title, batched(node.output().shape()), grouped(params), connected.join(", ")]
        });
        inputs.chain(layers).collect()
    }
}

/// One word in a line, unless more fit; what is too long ends in an ellipsis.
fn cut(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let chars = word.chars().count();
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + chars <= width => *last = format!("{last} {word}"),
            _ if chars <= width => lines.push(word.into()),
            _ => lines.push(word.chars().take(width - 1).chain(['…']).collect()),
        }
    }
    lines
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

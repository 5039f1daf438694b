//! A model's graph.

use super::{Anchor, BLACK, Color, Drawing, Mark, Step};
use crate::graph::Source;
use crate::model::{Model, batched};
use ibex_core::Result;
use std::collections::HashMap;
use std::path::Path;

const LINE: f64 = 18.0;
const HEIGHT: f64 = 3.0 * LINE + 8.0;
/// Between boxes, and between rows.
const GAP: f64 = 24.0;
const ROW: f64 = HEIGHT + 36.0;

const LINES: Color = [0x88; 3];
const BORDER: Color = [0x7a, 0x8c, 0xa3];
const INPUT: Color = [0xfd, 0xeb, 0xd8];
const LAYER: Color = [0xe3, 0xee, 0xfa];

/// A box, or a point where a line passes a row.
struct Item {
    /// None for a point.
    text: Vec<String>,
    width: f64,
    row: usize,
    from: Vec<usize>,
    /// The middle.
    x: f64,
}

impl Model {
    /// Draws the model's graph as a file, SVG or, if its name ends in `.png`, PNG (feature `images`): a box for every input and every application of a layer, with name, class and shapes. A model inside is
    /// one box. The file is written whole or not at all.
    ///
    /// # Errors
    /// The mistake of a layer that was added before; `Unsupported` for a name that ends in another type of image; `Io` if the file system refuses, in
    /// which case an old file is intact.
    #[doc(alias = "plot_model")]
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        self.drawing()?.write(path.as_ref())
    }

    /// The drawing that [`Model::plot`] writes, as SVG.
    ///
    /// # Errors
    /// The mistake of a layer that was added before.
    pub fn to_svg(&self) -> Result<String> {
        Ok(super::svg::text(&self.drawing()?))
    }

    fn drawing(&self) -> Result<Drawing> {
        self.check()?;
        let mut items = passing(self.boxes());
        let width = place(&mut items);
        Ok(draw(&items, width))
    }

    /// Inputs and applications of layers, each in the first row below all that it takes.
    fn boxes(&self) -> Vec<Item> {
        let item = |text: Vec<String>| {
            let letters = text.iter().map(|line| line.chars().count()).max().unwrap_or(0);
            Item { text, width: letters as f64 * 7.5 + 20.0, row: 0, from: Vec::new(), x: 0.0 }
        };
        let inputs = self.inputs().iter().zip(self.input_names());
        let mut items: Vec<Item> =
            inputs.map(|(t, name)| item(vec![name.clone(), "InputLayer".into(), batched(t.shape())])).collect();
        let mut numbers = HashMap::new();
        for (layer, node) in self.layers().iter().enumerate() {
            for (number, applied) in node.applications.iter().enumerate() {
                numbers.insert((layer, number), items.len());
                let list = |tensors: &[crate::SymbolicTensor]| {
                    tensors.iter().map(|t| batched(t.shape())).collect::<Vec<_>>().join(", ")
                };
                let shapes = format!("{} → {}", list(&applied.inputs), list(&applied.outputs));
                items.push(item(vec![node.name().into(), node.layer().class_name().into(), shapes]));
            }
        }
        for (layer, node) in self.layers().iter().enumerate() {
            for (number, applied) in node.applications.iter().enumerate() {
                let mut from: Vec<usize> = applied
                    .from
                    .iter()
                    .filter_map(|source| match *source {
                        Source::Input(i) => Some(i),
                        Source::Layer(layer, number, _) => numbers.get(&(layer, number)).copied(),
                    })
                    .collect();
                from.sort_unstable();
                from.dedup();
                items[numbers[&(layer, number)]].from = from;
            }
        }
        // Layers stand nearly in the order in which they run, so that this takes few rounds.
        loop {
            let below = |item: &Item| item.from.iter().map(|&i| items[i].row + 1).max().unwrap_or(0);
            let rows: Vec<usize> = items.iter().map(below).collect();
            if rows.iter().zip(&items).all(|(row, item)| *row == item.row) {
                return items;
            }
            rows.into_iter().zip(&mut items).for_each(|(row, item)| item.row = row);
        }
    }
}

/// Adds points to lines that pass rows, so that they go around the boxes there.
fn passing(mut items: Vec<Item>) -> Vec<Item> {
    let mut points: HashMap<(usize, usize), usize> = HashMap::new();
    for i in 0..items.len() {
        for j in 0..items[i].from.len() {
            let source = items[i].from[j];
            let mut last = source;
            for row in items[source].row + 1..items[i].row {
                last = *points.entry((source, row)).or_insert_with(|| {
                    items.push(Item { text: Vec::new(), width: GAP, row, from: vec![last], x: 0.0 });
                    items.len() - 1
                });
            }
            items[i].from[j] = last;
        }
    }
    items
}

/// Places every row below what its items come from, in their order. Gives the width.
fn place(items: &mut [Item]) -> f64 {
    let rows = items.iter().map(|item| item.row + 1).max().unwrap_or(0);
    let mut by_row: Vec<Vec<usize>> = vec![Vec::new(); rows];
    items.iter().enumerate().for_each(|(i, item)| by_row[item.row].push(i));
    let length = |row: &[usize], items: &[Item]| row.iter().map(|&i| items[i].width + GAP).sum::<f64>();
    let width = by_row.iter().map(|row| length(row, items)).fold(0.0, f64::max) + GAP;
    for row in &mut by_row {
        let middle = |i: usize| {
            let from = &items[i].from;
            from.iter().map(|&f| items[f].x).sum::<f64>() / from.len().max(1) as f64
        };
        row.sort_by(|&a, &b| middle(a).total_cmp(&middle(b)));
        let mut x = (width - length(row, items) + GAP) / 2.0;
        for &i in row.iter() {
            items[i].x = x + items[i].width / 2.0;
            x += items[i].width + GAP;
        }
    }
    width
}

fn draw(items: &[Item], width: f64) -> Drawing {
    let rows = items.iter().map(|item| item.row + 1).max().unwrap_or(0);
    let mut drawing = Drawing::new(width, rows as f64 * ROW - (ROW - HEIGHT) + 2.0 * GAP, 13.0);
    let top = |item: &Item| GAP + item.row as f64 * ROW;
    for item in items {
        for from in item.from.iter().map(|&i| &items[i]) {
            let (x0, y0, x1, y1) = (from.x, top(from) + HEIGHT, item.x, top(item));
            let bend = (y1 - y0) / 2.0;
            let curve = |end| vec![Step::Move([x0, y0]), Step::Curve([x0, y0 + bend], [x1, end - bend], [x1, end])];
            if item.text.is_empty() {
                let mut path = curve(y1);
                path.push(Step::Line([x1, y1 + HEIGHT]));
                drawing.line(path, LINES, 1.5);
            } else {
                // Not to be seen beside its tip.
                drawing.line(curve(y1 - 4.0), LINES, 1.5);
                let corners = [[x1, y1], [x1 - 5.0, y1 - 9.0], [x1 + 5.0, y1 - 9.0]];
                drawing.marks.push(Mark::Tip { corners, color: LINES });
            }
        }
    }
    for item in items.iter().filter(|item| !item.text.is_empty()) {
        let (corner, size) = ([item.x - item.width / 2.0, top(item)], [item.width, HEIGHT]);
        let fill = if item.from.is_empty() { INPUT } else { LAYER };
        drawing.marks.push(Mark::Box { corner, size, radius: 5.0, fill, border: BORDER });
        for (i, line) in item.text.iter().enumerate() {
            let at = [item.x, corner[1] + LINE * (i + 1) as f64];
            match i {
                0 => drawing.bold(at, Anchor::Middle, 13.0, line),
                _ => drawing.text(at, Anchor::Middle, BLACK, line),
            }
        }
    }
    drawing
}

//! A small font of lines, drawn for this crate: printable ASCII, and the arrow of shapes.

use super::Point;

/// Lengths of the font's units for a size of 1.
const UNIT: Point = [0.048, 0.06];

/// Between two letters, in units.
const GAP: f64 = 3.6;

/// The baseline, in units from the top of capitals.
const BASE: f64 = 12.0;

/// The lines of a letter. A point is two digits of base 36, to the right and down; small letters begin at 4, the baseline is 12 (`c`), tails end at 16.
/// Lines after `~` are bent: the points between their ends pull them.
fn strokes(letter: char) -> &'static str {
    match letter {
        ' ' => "",
        '!' => "0008 0b0c",
        '"' => "0003 3033",
        '#' => "301c 705c 0484 0888",
        '$' => "~82820206868a0a0a 404c",
        '%' => "~0040440400 ~4888 8c4c 48 900c",
        '&' => "~8c13105053070c6c88",
        '\'' => "0003",
        '(' => "~30040a3e",
        ')' => "~00343a0e",
        '*' => "3137 0266 0662",
        '+' => "0888 444c",
        ',' => "1b0e",
        '-' => "0858",
        '.' => "0b0c",
        '/' => "700e",
        '0' => "~00707c0c00",
        '1' => "13404c",
        '2' => "~030070750c 0c7c",
        '3' => "~0200707636 ~36767c0c0a",
        '4' => "5c500888",
        '5' => "600005 ~05757c0c0a",
        '6' => "~60000c7c750509",
        '7' => "00703c",
        '8' => "~1060661610 ~06767c0c06",
        '9' => "~1c7c7000077773",
        ':' => "0506 0b0c",
        ';' => "1516 1b0e",
        '<' => "64086c",
        '=' => "0666 0a6a",
        '>' => "04680c",
        '?' => "~030070753539 3b3c",
        '@' => "~6874343969 ~69a9a000 0cac",
        'A' => "0c408c 1979",
        'B' => "0c00 ~00707606 ~06868c0c",
        'C' => "~8380000c8c89",
        'D' => "0c00 ~00808c0c",
        'E' => "80000c8c 0666",
        'F' => "80000c 0666",
        'G' => "~8380000c8c87 8747",
        'H' => "000c 808c 0686",
        'I' => "000c",
        'J' => "~606c0c09",
        'K' => "000c 8007 358c",
        'L' => "000c7c",
        'M' => "0c0059a0ac",
        'N' => "0c008c80",
        'O' => "~00808c0c00",
        'P' => "0c00 ~00808707",
        'Q' => "~00808c0c00 588d",
        'R' => "0c00 ~00808707 478c",
        'S' => "~82800006868c0c0a",
        'T' => "0080 404c",
        'U' => "~000c8c80",
        'V' => "004c80",
        'W' => "003c629cc0",
        'X' => "008c 0c80",
        'Y' => "004680 464c",
        'Z' => "00800c8c",
        '[' => "30000e3e",
        '\\' => "007e",
        ']' => "00303e0e",
        '^' => "043064",
        '_' => "0e7e",
        '`' => "0022",
        'a' => "~04747c0c04 747c",
        'b' => "~04747c0c04 000c",
        'c' => "~7674040c7c7a",
        'd' => "~04747c0c04 707c",
        'e' => "~7874040c7c7a 0878",
        'f' => "~5020232c 0454",
        'g' => "~04747c0c04 ~747g0g",
        'h' => "000c ~070474787c",
        'i' => "040c 0001",
        'j' => "~343g0g 3031",
        'k' => "000c 6409 277c",
        'l' => "000c",
        'm' => "040c ~070454585c ~5754a4a8ac",
        'n' => "040c ~070474787c",
        'o' => "~04747c0c04",
        'p' => "~04747c0c04 040g",
        'q' => "~04747c0c04 747g",
        'r' => "040c ~070454",
        's' => "~65640408686c0c0b",
        't' => "~21292c5c 0454",
        'u' => "~04090c7c79 747c",
        'v' => "043c64",
        'w' => "043c557ca4",
        'x' => "046c 0c64",
        'y' => "043c 642g",
        'z' => "04640c6c",
        '{' => "~40202707 ~07272e4e",
        '|' => "000e",
        '}' => "~00202747 ~47272e0e",
        '~' => "~0906464a8a87",
        '→' => "08b8 85b88b",
        _ => "00606c0c00",
    }
}

/// A letter's lines in units, without bends.
fn letter(c: char) -> Vec<Vec<Point>> {
    let digit = |c: char| c.to_digit(36).map_or(0.0, f64::from);
    let stroke = |text: &str| {
        let (bent, digits) = text.strip_prefix('~').map_or((false, text), |rest| (true, rest));
        let digits: Vec<char> = digits.chars().collect();
        let points: Vec<Point> = digits.chunks_exact(2).map(|pair| [digit(pair[0]), digit(pair[1])]).collect();
        if bent { bend(&points) } else { points }
    };
    strokes(c).split_whitespace().map(stroke).collect()
}

/// A line from the first point to the last, through the middles between all, pulled by those between. If both are one it is round there too.
fn bend(points: &[Point]) -> Vec<Point> {
    let middle = |a: Point, b: Point| [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0];
    let [first, .., last] = points else { return points.to_vec() };
    let closed = first == last && points.len() > 3;
    let mut points = points.to_vec();
    if closed {
        points.push(points[1]);
    }
    let mut line = Vec::new();
    if !closed {
        line.push(points[0]);
    }
    for three in points.windows(3) {
        let (from, pull, to) = (middle(three[0], three[1]), three[1], middle(three[1], three[2]));
        line.extend((0..=8).map(|i| {
            let t = f64::from(i) / 8.0;
            let at = |axis: usize| (1.0 - t).powi(2) * from[axis] + 2.0 * t * (1.0 - t) * pull[axis] + t * t * to[axis];
            [at(0), at(1)]
        }));
    }
    if !closed {
        line.push(*points.last().unwrap_or(&points[0]));
    }
    line
}

/// How far the next letter is, in units.
fn advance(c: char) -> f64 {
    let wide = letter(c).iter().flatten().map(|p| p[0]).fold(0.0, f64::max);
    match c {
        ' ' => 6.0,
        // All digits are equally wide, so that columns of numbers are straight.
        '0'..='9' => 8.0 + GAP,
        _ => wide + GAP,
    }
}

/// The length of a text.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let units: f64 = text.chars().map(advance).sum();
    (units - GAP).max(0.0) * UNIT[0] * size
}

/// The lines of a text whose baseline begins at a place.
pub(super) fn lines(text: &str, [x, y]: Point, size: f64) -> Vec<Vec<Point>> {
    let mut pen = x;
    let mut all = Vec::new();
    for c in text.chars() {
        let place = |[u, v]: Point| [pen + u * UNIT[0] * size, y + (v - BASE) * UNIT[1] * size];
        all.extend(letter(c).into_iter().map(|line| line.into_iter().map(place).collect()));
        pen += advance(c) * UNIT[0] * size;
    }
    all
}

//! The list, by kind of operation.

mod composed;
mod elementwise;
mod indexed;
mod matmul;
mod mixed;
mod movement;
mod reduce;
mod special;
mod train;
mod window;

use crate::case::Case;

/// Every case. Names are unique.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    elementwise::add(&mut all);
    special::add(&mut all);
    reduce::add(&mut all);
    movement::add(&mut all);
    indexed::add(&mut all);
    matmul::add(&mut all);
    window::add(&mut all);
    composed::add(&mut all);
    train::add(&mut all);
    mixed::add(&mut all);
    all
}

/// `[2, 3]` as `2x3`; a scalar is `scalar`.
fn named(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".into();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

//! Instructions of every instruction set against `f64`.

mod fold;
mod math;
mod ops;
